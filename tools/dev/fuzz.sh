#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs the libFuzzer targets: tools/dev/fuzz.sh SECONDS BUILD [TARGET...]
#
# SECONDS are shared by the targets. BUILD is a Meson build folder made with clang and -Dfuzz=true; what
# the fuzzers learn stays there (fuzz/corpus), and so do the inputs that break something
# (fuzz/artifacts). Fails if one does: crash, sanitizer report, leak, more than 10 s or 1 GiB.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '3,8s/^# //p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=$1
build=$2
shift 2
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(pth pickle safetensors graph npy image fold)
share=$((seconds / ${#targets[@]}))
[ $share -gt 0 ] || share=1

ninja -C "$build" --quiet fuzz || exit 1

# Words of the format, where they are longer than what mutation finds by itself.
dictionary() {
    local name=$1
    case $name in
    pth | pickle) echo "$root/tests/fuzz/pickle.dict" ;;
    safetensors | graph) echo "$root/tests/fuzz/json.dict" ;;
    esac
}

passed=0
failed=0
for target in "${targets[@]}"; do
    corpus=$build/fuzz/corpus/$target
    artifacts=$build/fuzz/artifacts/
    mkdir -p "$corpus" "$artifacts"
    seeds=$root/tests/fuzz/corpus/$target
    [ "$target" = pth ] && seeds=$root/tests/loaders/data
    arguments=(-max_total_time=$share -timeout=10 -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1
        -artifact_prefix="$artifacts$target-")
    words=$(dictionary "$target")
    [ -n "$words" ] && arguments+=(-dict="$words")
    if UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/fuzz/fuzz_$target" "${arguments[@]}" "$corpus" "$seeds" \
        >"$build/fuzz/$target.log" 2>&1; then
        passed=$((passed + 1))
        echo "fuzz $target: $(awk '/stat::number_of_executed_units/ { print $2 }' "$build/fuzz/$target.log") inputs, none broke it"
    else
        failed=$((failed + 1))
        echo "fuzz $target FAILED:"
        grep -vE '^(#|INFO|Dictionary)' "$build/fuzz/$target.log" | tail -60
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
