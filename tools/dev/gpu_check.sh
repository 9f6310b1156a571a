#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The day with a GPU, in one command: is everything right there, and how fast is it?
#
#     gpu_check.sh BUILD_DIR OUT_DIR [--device cuda|sim] [--only STEP,...]
#
# Runs each step below into OUT_DIR/STEP.txt, goes on after one that fails, and writes OUT_DIR/summary.md, which
# keeps what earlier calls (--only) left in OUT_DIR. Exit 1: a step of this call failed. It needs bash, python3, the build folder and this source tree (scripts, tests/data,
# tools/demo); no compiler, no meson. tools/dev/README.md says what to build and to carry.
#
#   props       the device, and its cuDNN form for tests/data/cuda
#   ops         every op case on every kernel (a test that skips itself is a failure here)
#   sessions    the public API with CUDA code of the caller's own
#   models      DEA-Net against the goldens
#   memcheck, racecheck   compute-sanitizer, if there is one, on fewer cases
#   ceilings    copy and matmul rates by PyTorch, if there is one with CUDA
#   bench_ops   all kernels on the shapes of networks, cuDNN's (rows cudnn*) among them
#   network     refold bench and a profile: demo and DEA-Net b32, 512x512 and 1920x1080, f32, f16, bf16
#   peers       PyTorch eager and torch.compile on the same networks
#
# Environment: RF_GOLDEN_DIR (models, b32 checkpoint), REFOLD_DEBS (folder of unpacked .deb: their libraries
# are found), RF_COMMIT (what was built, where git is absent), RF_GPU_CHECK_QUICK=1 (tiny shapes and filters),
# RF_GPU_CHECK_TIMEOUT (seconds per step, 1500), PYTHON (python3, the one with torch).
set -uo pipefail

usage() {
    sed -n '4,10p' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
}

device=cuda only="" folders=()
while [ $# -gt 0 ]; do
    case $1 in
    --device | --only)
        [ $# -ge 2 ] || usage
        [ "$1" = --device ] && device=$2 || only=$2
        shift
        ;;
    -*) usage ;;
    *) folders+=("$1") ;;
    esac
    shift
done
[ ${#folders[@]} -eq 2 ] || usage
case $device in cuda | sim) ;; *) usage ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${folders[0]}" 2>/dev/null && pwd) || { echo "gpu_check.sh: no folder ${folders[0]}" >&2; exit 2; }
mkdir -p "${folders[1]}" && out=$(cd "${folders[1]}" && pwd) || exit 2
python=${PYTHON:-python3}
quick=${RF_GPU_CHECK_QUICK:-}
limit=${RF_GPU_CHECK_TIMEOUT:-1500}
all_steps="props ops sessions models memcheck racecheck ceilings bench_ops network peers"
for step in ${only//,/ }; do
    case " $all_steps " in *" $step "*) ;; *) echo "gpu_check.sh: no step '$step', expected of: $all_steps" >&2; exit 2 ;; esac
done
SKIPPED=77
golden=${RF_GOLDEN_DIR:-$root/../shared/golden}
export RF_GOLDEN_DIR=$golden RF_SOURCE_ROOT=$root RF_BUILD_ROOT=$build RF_TEST_DEVICE=$device
export REFOLD_CUDA_MODULE=$build/librefold_cuda.so REFOLD_SIM_MODULE=$build/librefold_sim.so
export CUDA_MODULE_LOADING=EAGER # a profile of a first run is not one of loading code
refold=$build/tools/cli/refold
if [ "$device" = sim ]; then
    ops_exe=test_sim sessions_exe=test_sim_session props_exe=sim_gpu_props
else
    ops_exe=test_gpu sessions_exe=test_gpu_session props_exe=gpu_props
fi

# Libraries of unpacked Debian packages, and those that come with PyTorch (cuDNN, cuBLAS, NVRTC).
library_folders() {
    [ -n "${REFOLD_DEBS:-}" ] && find "$REFOLD_DEBS" -name '*.so*' -printf '%h\n' | sort -u
    "$python" - <<'PY'
import glob, site, sysconfig
for base in dict.fromkeys([*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["purelib"]]):
    print("\n".join(sorted(glob.glob(base + "/nvidia/*/lib"))))
PY
}
found=$(library_folders | grep . | paste -sd:)
[ -n "$found" ] && export LD_LIBRARY_PATH=$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# ---- steps ------------------------------------------------------------------------------------

props() {
    "$build/bench/$props_exe" | tee "$out/device.json" &&
        "$build/bench/$props_exe" --cudnn >"$out/cudnn_device.json"
}

# gtest PROGRAM [FILTER]: a suite of which nothing ran has tested nothing. The counts stand in its file.
gtest() {
    local xml=$out/$1.xml status passed=0 tests_failed skipped
    rm -f "$xml"
    "$build/tests/$1" --gtest_brief=1 --gtest_filter="${2:-*}" --gtest_output="xml:$xml"
    status=$?
    [ -s "$xml" ] && read -r passed tests_failed skipped < <("$python" "$root/tools/dev/sum_tests.py" "$xml")
    echo "$1: ${passed:-0} passed, ${tests_failed:-?} failed, ${skipped:-?} skipped (exit $status)"
    [ $status -eq 0 ] && [ "${passed:-0}" -gt 0 ]
}
ops() { gtest $ops_exe "${quick:+CudaKernels.*_binary_add*}"; }
sessions() { gtest $sessions_exe; }
models() { gtest test_models "OnDevice.$([ -n "$quick" ] && echo OwnGolden || echo '*')"; }

sanitizer() {
    local tool=$1 filter=$2 program
    program=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
    [ -n "$program" ] && [ "$device" = cuda ] || { echo "no compute-sanitizer, or no GPU"; return $SKIPPED; }
    RF_TEST_QUICK=1 "$program" --tool "$tool" --error-exitcode 86 "$build/tests/$ops_exe" \
        --gtest_brief=1 --gtest_filter="$filter"
}
memcheck() { sanitizer memcheck "${quick:+CudaKernels.*_binary_add*}"; }
racecheck() { sanitizer racecheck 'CudaKernels.*conv2d*:CudaKernels.*matmul*:CudaKernels.*attention*'; }

ceilings() {
    rm -f "$out"/ceilings.{json,arg}
    [ "$device" = cuda ] || { echo "the emulated GPU has no PyTorch"; return $SKIPPED; }
    "$python" "$root/tools/dev/gpu_torch.py" ceilings --json "$out/ceilings.json" | tee "$out/ceilings.arg"
}

bench_ops() {
    local args=(--backend "$device" --json "$out/bench_ops.json") given
    given=$(tail -1 "$out/ceilings.arg" 2>/dev/null)
    [ -n "$given" ] && args+=(--ceilings "$given")
    rm -f "$out"/bench_ops{,_cold}.json
    [ -n "$quick" ] && args+=(--filter linear_64_64_64 --seconds 0)
    "$build/bench/bench_ops" "${args[@]}" --all-kernels &&
        { [ -n "$quick" ] || "$build/bench/bench_ops" "${args[@]}" --cold --json "$out/bench_ops_cold.json"; }
}

# The models there are: "name path".
checkpoints() {
    echo "demo $root/tools/demo/dea_net_demo.pth"
    local b32=$golden/dea_net/dea_b32_train.pk
    [ -z "$quick" ] && [ -f "$b32" ] && echo "dea_b32 $b32"
}

# network_case NAME MODEL WIDTH HEIGHT PRECISION
network_case() {
    local base=$out/net_$1_$3x$4_$5 status=0
    local common=(-m "$2" --device "$device" --precision "$5")
    local runs=(--runs 20 --seconds 2)
    [ -n "$quick" ] && runs=(--runs 1 --seconds 0)
    echo "== $1 $3x$4 $5"
    "$refold" bench "${common[@]}" --shape "1x3x$4x$3" "${runs[@]}" --json="$base.json" || status=1
    [ -f "$base.json" ] && cat "$base.json"
    "$python" "$root/tools/dev/random_png.py" "$3" "$4" "$out/input.png" &&
        "$refold" run "${common[@]}" "$out/input.png" -o "$out/output.png" --profile "$base.profile" &&
        "$python" "$root/tools/dev/profile_table.py" "$base.profile" | tee "$base.profile.md" || status=1
    rm -f "$out/input.png" "$out/output.png"
    return $status
}

network() {
    rm -f "$out"/net_*
    local status=0 name path size precision sizes="512x512 1920x1080" precisions="f32 f16 bf16"
    [ -n "$quick" ] && sizes=16x16 precisions=f16
    while read -r name path; do
        for size in $sizes; do
            for precision in $precisions; do
                network_case "$name" "$path" "${size%x*}" "${size#*x}" "$precision" || status=1
            done
        done
    done < <(checkpoints)
    return $status
}

peers() {
    rm -f "$out/peers.json"
    [ "$device" = cuda ] || { echo "the emulated GPU has no PyTorch"; return $SKIPPED; }
    local models
    mapfile -t models < <(checkpoints | cut -d' ' -f2-)
    "$python" "$root/tools/dev/gpu_torch.py" network "${models[@]}" --json "$out/peers.json" \
        ${quick:+--sizes 32x32 --no-compile}
}

# ---- run them ---------------------------------------------------------------------------------

export -f props gtest ops sessions models sanitizer memcheck racecheck ceilings bench_ops checkpoints \
    network_case network peers
export root build out python quick device golden refold ops_exe sessions_exe props_exe SKIPPED
touch "$out/steps.tsv"
failed=0
for step in $all_steps; do
    case ",$only," in ,, | *",$step,"*) ;; *) continue ;; esac
    begin=$SECONDS
    sed -i "/^$step\t/d" "$out/steps.tsv"
    timeout --kill-after=10 "$limit" bash -o pipefail -c "$step" >"$out/$step.txt" 2>&1
    status=$?
    word=pass
    [ $status -eq $SKIPPED ] && word=skip
    [ $status -ne 0 ] && [ $status -ne $SKIPPED ] && word=FAIL && failed=1
    [ $status -eq 124 ] && echo "no end after $limit s" >>"$out/$step.txt"
    printf '%s\t%s\t%d\t%d\n' "$step" "$word" "$status" $((SECONDS - begin)) >>"$out/steps.tsv"
    printf '%-10s %s (exit %d, %d s)\n' "$step" "$word" "$status" $((SECONDS - begin))
done
export RF_COMMIT=${RF_COMMIT:-$(git -C "$root" describe --always --dirty --exclude='*' --abbrev=12 2>/dev/null || echo unknown)}
"$python" "$root/tools/dev/gpu_summary.py" "$out" "$device" >"$out/summary.md" || failed=1
sed -n '/^## Steps/,/^## [^S]/p' "$out/summary.md" | sed '$d'
exit $failed
