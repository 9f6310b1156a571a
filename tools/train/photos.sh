#!/bin/sh
# Fetches the Debian packages that hold the training photographs and unpacks
# them under $1/x. Nothing is installed: the packages are only opened.
#
#   sh tools/train/photos.sh /opt/rf/train
#
# The suites are named one by one because the photographs moved: gcompris 1.0
# (bullseye) still ships JPEGs, later versions ship small WebP files; the
# budgie and wordpress pictures are CC0 only from trixie on. A private apt
# state folder keeps the machine's own sources untouched.
set -eu
work=${1:?usage: photos.sh WORKDIR}
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" \
         "$work/deb" "$work/x"
work=$(cd "$work" && pwd)

key=/usr/share/keyrings/debian-archive-keyring.gpg
for suite in bullseye bookworm trixie; do
    echo "deb [signed-by=$key] http://deb.debian.org/debian $suite main"
done > "$work/apt/sources.list"

apt() {
    apt-get -q -o Dir::Etc::SourceList="$work/apt/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/apt/lists" \
        -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User=root "$@"
}

apt update
cd "$work/deb"
apt download \
    gcompris-qt-data=1.0-1 gnome-backgrounds=3.38.0-1 \
    plasma-workspace-wallpapers/bookworm mate-backgrounds/bookworm \
    lomiri-wallpapers-16.04/bookworm lomiri-wallpapers-20.04/bookworm \
    lxqt-themes/bookworm palapeli-data/bookworm budgie-backgrounds/trixie \
    wordpress-theme-twentytwentyfour/trixie \
    wordpress-theme-twentytwentyfive/trixie

for deb in *.deb; do
    dpkg-deb -x "$deb" "$work/x/${deb%%_*}"
done
echo "unpacked under $work/x; next: photos.py sheets $work"
