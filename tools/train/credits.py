"""Prints author and licence of every photograph in photos.txt.

    python3 credits.py WORK > ../demo/CREDITS.md

Read from the packages themselves: Debian copyright files (last matching
paragraph wins, as their format says), Palapeli's .desktop and Plasma's
metadata.json beside the picture. Where a package names no author per picture,
its own statement is given.
"""
import fnmatch
import glob
import json
import os
import re
import sys

import photos

STATEMENTS = {
    "wordpress-theme-twentytwentyfour": ("via rawpixel.com (theme readme)",
                                         "CC0-1.0"),
    "gnome-backgrounds": ("GNOME backgrounds authors; Road: Garrett LeSage",
                          "CC-BY-SA-3.0 / GPL-2+"),
}


def paragraphs(text):
    """(patterns, copyright, licence) of each Files paragraph."""
    for block in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(\w+): ?((?:.*)(?:\n[ \t].*)*)", block,
                                 re.M))
        if "Files" in fields:
            holders = "; ".join(line.strip() for line
                                in fields.get("Copyright", "").splitlines())
            licence = fields.get("License", "").splitlines()[0].strip()
            yield fields["Files"].split(), holders, licence


def possible_paths(package, rest):
    if package.startswith("lomiri"):
        return [package[-5:] + "/" + os.path.basename(rest)]
    if package != "gcompris-qt-data":
        return [rest.split("/", i)[-1] for i in range(rest.count("/") + 1)]
    activity, tail = rest.split("/", 1)
    top = f"src/activities/{activity}/"
    return [top + tail, top + "resource/" + tail,
            top + "resource/images/" + tail]


def from_copyright(work, package, rest):
    path = os.path.join(work, "x", package, "usr/share/doc", package,
                        "copyright")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    found = None
    for patterns, holders, licence in paragraphs(text):
        if any(fnmatch.fnmatch(p, pattern) for pattern in patterns
               for p in possible_paths(package, rest)):
            found = holders, licence
    if found and len(found[0]) > 160:  # a catch-all paragraph
        return found[0].split(";")[0] + " and others", found[1]
    return found


def beside(work, package, rest):
    """Author and licence from the file that describes one picture."""
    root = os.path.join(work, "x", package)
    if package == "palapeli-data":
        name = os.path.splitext(os.path.basename(rest))[0] + ".desktop"
        path = glob.glob(f"{root}/**/{name}", recursive=True)[0]
        text = open(path, encoding="utf-8").read()
        return tuple(re.search(f"PluginInfo-{key}=(.*)", text).group(1)
                     for key in ("Author", "License"))
    path = f"{root}/usr/share/wallpapers/{rest.split('/')[0]}/metadata.json"
    plugin = json.load(open(path, encoding="utf-8"))["KPlugin"]
    authors = ", ".join(a["Name"] for a in plugin.get("Authors", []))
    return authors, plugin.get("License", "")


def credit(work, name):
    package, rest = name.split(":", 1)
    if package in STATEMENTS:
        return STATEMENTS[package]
    if package in ("palapeli-data", "plasma-workspace-wallpapers"):
        return beside(work, package, rest)
    return from_copyright(work, package, rest) or ("?", "?")


def main(work):
    print("# Credits of the photographs\n\nUsed to train (train) or to score "
          "(heldout) the demo model. Only the sample\npicture in this folder is"
          " redistributed here; all others are in the Debian\npackages named. "
          "Printed by tools/train/credits.py.\n")
    last = None
    for name, use in sorted(photos.choices().items()):
        package, rest = name.split(":", 1)
        if package != last:
            print(f"\n## {package}\n")
            last = package
        holders, licence = credit(work, name)
        holders = re.sub(r"\s*[<(]\S+@\S+[>)]´?", "", holders)
        print(f"- {rest} ({use}): {holders}. {licence}")


if __name__ == "__main__":
    main(sys.argv[1])
