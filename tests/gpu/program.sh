#!/bin/sh
# program.sh - the program that ships, on a GPU that tests/gpu emulates behind a driver of its own: the CPU's
# bytes, whichever call of the driver fails; and what it says where there is no usable GPU.
set -u
cd "$(dirname "$0")/../.."
out=${OUT:-build} fake=${OUT:-build}/tests/gpu
bin=$out/stemforge tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
ok() { passed=$((passed + 1)); }
no() {
    failed=$((failed + 1))
    echo "FAIL $*"
}
if "$bin" info | grep -q '^GPU code   none'; then
    echo "the program has no GPU kernels (tools/install.sh gpu brings their compilers): not tested"
    exit 0
fi

# make FOLDER OPTION...: two stems; the digests go to FOLDER.sum, what is said to FOLDER.err
make_stems() {
    to=$1
    shift
    rm -rf "${tmp:?}/$to"
    timeout 120 "$bin" generate --stem bass --stem drums --seed 3 --quiet --out "$tmp/$to" "$@" 2>"$tmp/$to.err"
    code=$?
    (cd "$tmp/$to" 2>/dev/null && sha256sum ./*.wav 2>/dev/null) >"$tmp/$to.sum"
    return $code
}
on_gpu() { LD_LIBRARY_PATH=$fake make_stems "$@"; }
same() { # name folder folder
    if [ -s "$tmp/$2.sum" ] && cmp -s "$tmp/$2.sum" "$tmp/$3.sum"; then ok; else
        no "$1: other bytes; $(tail -n 1 "$tmp/$3.err")"
    fi
}
says() { # name folder text
    if grep -q "$3" "$tmp/$2.err" && [ "$(wc -l <"$tmp/$2.err")" -le 1 ]; then ok; else
        no "$1: expected one line with '$3', found: $(cat "$tmp/$2.err")"
    fi
}

for case in "stereo stored" "melody q8"; do
    set -- --model "tests/parity/${case% *}/model" --weights "${case#* }" --duration 0.3 --chords "Am F"
    make_stems cpu "$@" --device cpu
    on_gpu gpu "$@" --device cuda || no "$case: $(cat "$tmp/gpu.err")"
    same "$case" cpu gpu
done
cp "$tmp/cpu/bass.wav" "$tmp/before.wav"
set -- --model tests/parity/mono/model --duration 0.6 --continue "$tmp/before.wav"
make_stems cpu "$@" --device cpu
on_gpu gpu "$@" --device cuda || no "going on from sound: $(cat "$tmp/gpu.err")"
same "going on from sound" cpu gpu
set -- --model tests/parity/mono/model --weights q8 --duration 0.2
make_stems cpu "$@" --device cpu
on_gpu gpu "$@"
same "a GPU is taken where there is one" cpu gpu
if LD_LIBRARY_PATH=$fake "$bin" generate "$@" --stem bass --json --out "$tmp/json" | grep -q '"device": "emulated GPU"'; then ok; else
    no "the report does not name the GPU"
fi

# A call fails, and all after it: before the model is there the CPU takes over at once, later what runs is
# handed over to it. Never other bytes, never no stem.
handed=0 n=0
while [ $n -lt 1300 ]; do
    FAKE_CUDA_FAIL=$n on_gpu fails "$@" || no "call $n fails: $(cat "$tmp/fails.err")"
    same "call $n fails" cpu fails
    ! grep -q 'The CPU goes on' "$tmp/fails.err" || handed=$((handed + 1))
    n=$((n + 151))
done
if [ $handed -gt 1 ]; then ok; else no "expected runs that are handed over to the CPU, found $handed"; fi

FAKE_CUDA_MEMORY=200000 on_gpu small "$@"
same "a GPU that is too small is left alone" cpu small
FAKE_CUDA_MEMORY=200000 on_gpu small "$@" --device cuda && no "a GPU that is too small was taken"
says "a GPU that is too small" small "GPU"
FAKE_CUDA_MEMORY=11000000 on_gpu small "$@" --device cuda && no "a GPU without room for a stem was taken"
says "a GPU without room for a stem" small "expected [0-9.]* MB for a stem beside the model, found [0-9.]* MB"

FAKE_CUDA_IDLE=1 on_gpu wrong "$@" --device cuda && no "a GPU with other bits was taken"
says "other bits" wrong "self-test: expected the CPU's scores to the last bit, found others"
FAKE_CUDA_IDLE=1 on_gpu wrong "$@" && no "a GPU with other bits was passed over in silence"
says "other bits, unasked" wrong "self-test: expected the CPU's scores to the last bit, found others"

make_stems none "$@" --device cuda && no "a GPU was found where there is none"
says "no driver" none "expected NVIDIA's driver, found no libcuda.so.1: install the driver"
mkdir "$tmp/lib"
echo 'int cuInit(unsigned f) { return (int)f; }' | ${CC:-cc} -shared -fPIC -x c - -o "$tmp/lib/libcuda.so.1"
LD_LIBRARY_PATH=$tmp/lib make_stems old "$@" --device cuda && no "an old driver was taken"
says "an old driver" old "it is too old"
on_gpu second "$@" --device cuda:1 && no "a second GPU was found"
says "no second GPU" second "GPU 1: expected 0 to 0"
# What is said where the CPU takes over by itself: nothing without a GPU.
says_of() { # name expected LD_LIBRARY_PATH
    found=$(LD_LIBRARY_PATH=$3 "$bin" generate --model tests/parity/mono/model --stem bass --duration 0.1 \
        --overwrite --out "$tmp/said" 2>&1 >/dev/null | grep 'GPU')
    case $found in "stemforge generate: the CPU computes, not the GPU: $2"*) ok ;; "$2") ok ;; *) no "$1: found: $found" ;; esac
}
says_of "no driver, unasked" "" /none
FAKE_CUDA_NONE=1 says_of "a driver without a GPU, unasked" "" "$fake"
FAKE_CUDA_MEMORY=200000 says_of "a GPU that is too small, unasked" "GPU: " "$fake"
says_of "an old driver, unasked" "NVIDIA's driver has no " "$tmp/lib"

# The tools that look at stages.
echo '{"name": "t", "prompt": "drums", "guidance": 3, "greedy_frames": 3, "decode_codes": [[1], [2], [3], [4]]}' >"$tmp/case.json"
for device in cpu cuda; do
    LD_LIBRARY_PATH=$fake "$bin" trace tests/parity/mono/model --case "$tmp/case.json" --device $device \
        --out "$tmp/$device.safetensors" >/dev/null || no "trace --device $device"
done
if cmp "$tmp/cpu.safetensors" "$tmp/cuda.safetensors"; then ok; else no "trace: other bytes"; fi
if LD_LIBRARY_PATH=$fake "$bin" bench tests/parity/equal/model --device cuda --steps 2 --position 2 --stems 1,2 --csv >"$tmp/bench.csv" &&
    head -n 1 "$tmp/bench.csv" | grep -q 'emulated GPU' && grep -q '^steps,2,' "$tmp/bench.csv" &&
    ! grep -q '^memory read' "$tmp/bench.csv"; then ok; else no "bench --device cuda"; fi
for tool in "trace tests/parity/mono/model --case $tmp/case.json --out $tmp/x.safetensors" "bench tests/parity/mono/model"; do
    # shellcheck disable=SC2086
    found=$("$bin" $tool --device gpu 2>&1)
    [ $? = 2 ] && case $found in *"expected auto, cpu, cuda or cuda:0"*) true ;; *) false ;; esac && ok || no "$tool: $found"
done
set -- --model tests/parity/sa-f32/model --duration 0.5 --steps 2
on_gpu sa "$@" --device cuda && no "Stable Audio was taken to a GPU"
says "a family without programs" sa "has no programs for a GPU yet"
make_stems cpu "$@" --device cpu
on_gpu sa "$@"
same "a family without programs" cpu sa

echo "$passed passed, $failed failed"
[ $failed = 0 ]
