#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything a change must pass, on a fresh Debian 12 machine, in the order in which it is cheapest to
# fail. Ends with one line: N passed, N failed. The first two sections are the README's own two
# commands, taken from the README, run in a copy of what git would hand to somebody else.
#
# RF_CI_SKIP="packages tsan ..." leaves sections out (for use at the desk); RF_CI_FUZZ_SECONDS is how long
# the fuzzers run (30).
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/refold-ci.XXXXXX")
trap 'rm -rf "$work"' EXIT
export RF_GOLDEN_DIR=${RF_GOLDEN_DIR:-$root/../shared/golden}
export DEBIAN_FRONTEND=noninteractive MESON_TESTTHREADS=2
passed=0
failed=0
began=$SECONDS

# section NAME COMMAND...: one check that passes or fails as a whole.
section() {
    local name=$1 start=$SECONDS status
    shift
    case " ${RF_CI_SKIP:-} " in *" $name "*) return 0 ;; esac
    printf '\n=== %s\n' "$name"
    "$@"
    status=$?
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "*** $name FAILED (exit $status)"
    fi
    echo "=== $name: $((SECONDS - start)) s"
    return $status
}

# Adds the test cases of JUnit files; fails if one failed.
count() {
    local p f s
    read -r p f s < <(python3 "$root/tools/dev/sum_tests.py" "$@") || return 1
    echo "$p passed, $f failed, $s skipped"
    passed=$((passed + p))
    failed=$((failed + f))
    [ "$f" -eq 0 ]
}

# The README's n-th block of shell commands.
readme_command() {
    awk -v want="$1" '/^```sh$/ { n++; inside = n == want; next } /^```/ { inside = 0 } inside' \
        "$root/README.md"
}

copy_tree() {
    mkdir -p "$work/tree"
    git -C "$root" ls-files -z --cached --others --exclude-standard |
        (cd "$root" && while IFS= read -r -d '' f; do [ -e "$f" ] && printf '%s\0' "$f"; done |
            xargs -0 cp --parents -t "$work/tree")
}

install_and_dehaze() {
    (cd "$work/tree" && readme_command 1 | bash -euo pipefail) &&
        test -s "$work/tree/clear.png" && file "$work/tree/clear.png" 2>/dev/null | head -1 || true
    test -s "$work/tree/clear.png"
}

run_tests() {
    (cd "$work/tree" && readme_command 2 | bash -euo pipefail)
    local status=$?
    count "$work"/tree/build/meson-logs/testlog.junit.xml && return $status
}

ci_tools() {
    $(command -v sudo) apt-get install -y -q clang clang-format-14 libomp-dev python3 >/dev/null
}

rules() {
    python3 tools/dev/check_includes.py && python3 tools/dev/check_sizes.py
}

format() {
    git ls-files -z --cached --others --exclude-standard '*.c' '*.h' '*.cc' |
        xargs -0 clang-format-14 --dry-run -Werror
}

sanitized() {
    export RF_TEST_QUICK=1
    meson setup "$work/asan" -Db_sanitize=address,undefined -Dbuildtype=debugoptimized -Db_lundef=false \
        -Dbench=false -Dgpu=disabled >"$work/asan.log" || { tail -20 "$work/asan.log"; return 1; }
    ninja -C "$work/asan" --quiet || return 1
    meson test -C "$work/asan" --no-rebuild --print-errorlogs --timeout-multiplier 3 \
        unit api fold ops loaders models cli
    local status=$?
    count "$work"/asan/meson-logs/testlog.junit.xml && return $status
}

# Sessions of one thread on many threads: OpenMP's own synchronisation is invisible to TSan, so teams
# would only give false alarms.
threads() {
    local run=(env)
    setarch -R true 2>/dev/null && run=(setarch -R) # TSan of GCC 12 dislikes much address randomness
    meson setup "$work/tsan" -Db_sanitize=thread -Dbuildtype=debugoptimized -Db_lundef=false \
        -Dbench=false -Dgpu=disabled >"$work/tsan.log" || { tail -20 "$work/tsan.log"; return 1; }
    ninja -C "$work/tsan" --quiet tests/test_api || return 1
    TSAN_OPTIONS="halt_on_error=1 suppressions=$root/tests/support/tsan.supp" RF_TEST_QUICK=1 RF_SOURCE_ROOT=$root "${run[@]}" "$work/tsan/tests/test_api" \
        --gtest_filter='Threads.*' --gtest_brief=1 --gtest_output="xml:$work/tsan.xml"
    local status=$?
    count "$work/tsan.xml" && return $status
}

# Half a minute of libFuzzer over every loader; each target counts.
fuzz() {
    CC=clang CXX=clang++ meson setup "$work/fuzz" -Dfuzz=true -Dtests=false -Dbench=false -Dgpu=disabled \
        >"$work/fuzz.log" || { tail -20 "$work/fuzz.log"; return 1; }
    tools/dev/fuzz.sh "${RF_CI_FUZZ_SECONDS:-30}" "$work/fuzz" | tee "$work/fuzz.out"
    local status=${PIPESTATUS[0]} p f
    read -r p f < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$work/fuzz.out") || return 1
    passed=$((passed + p))
    failed=$((failed + f))
    return "$status"
}

cd "$root" || exit 1
copy_tree
section dehaze install_and_dehaze
section tests run_tests
section packages ci_tools
section rules rules
section format format
section sanitizers sanitized
section tsan threads
section fuzz fuzz
printf '\n%d s in all\n%d passed, %d failed\n' $((SECONDS - began)) $passed $failed
[ $failed -eq 0 ]
