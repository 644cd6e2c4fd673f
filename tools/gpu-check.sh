#!/bin/sh
# gpu-check.sh [DIR] - a bundle for a machine with an NVIDIA GPU and nothing to fetch from (default
# build/gpu-check, under 64 MiB), rehearsed here on the emulator; then the three calls to make there.
# The programs find their libraries beside themselves, all but glibc's; Python is the machine's own. No measure
# of a GPU is believed before `correct` has passed on it. PYTHON: one that has PyTorch, to rehearse its part too.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-build/gpu-check}
make -s -j"$(nproc)" gpu-bundle build/tests/gpu/libcuda.so.1
build/bundle/stemforge info | grep -q '^GPU code   nvcc' || { echo "the program has no machine code for GPUs: tools/install.sh gpu" >&2; exit 1; }
rm -rf "$dir"
mkdir -p "$dir/lib" "$dir/tests/parity" "$dir/models" "$dir/peers"
cp build/bundle/stemforge build/bundle/run_gpu tools/gpu_check.py tools/gpu_model.py tools/gpu_peer.py "$dir/"
cp bench/peers/stepnet.py "$dir/peers/"
# glibc's parts belong together and to the machine.
glibc='^(linux-vdso|lib(c|m|dl|pthread|rt|resolv|anl|nsl|util|nss_.*)|ld-linux.*)\.so'
ldd "$dir/stemforge" "$dir/run_gpu" | awk -v glibc="$glibc" '$3 ~ /^\// && $1 !~ glibc {print $3}' | sort -u |
    while read -r lib; do cp -L "$lib" "$dir/lib/"; done
for m in mono melody stereo stereo-melody sharded f16 bf16 parametrized equal equal-melody; do cp -r "tests/parity/$m" "$dir/tests/parity/"; done
cp -r models/stemforge-mini "$dir/models/"
strip --strip-unneeded "$dir"/lib/*
size=$(du -sm "$dir" | cut -f1)
newest=$(objdump -T "$dir/stemforge" "$dir/run_gpu" "$dir"/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
echo "$dir: $size MiB, $(find "$dir/lib" -type f | wc -l) libraries beside it; needs glibc ${newest#GLIBC_} or later"
[ "$size" -lt 64 ] || { echo "expected under 64 MiB" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r "$dir" "$scratch/there"
outside=$(for f in stemforge run_gpu; do env -i /usr/bin/ldd "$scratch/there/$f"; done |
    awk -v glibc="$glibc" -v there="$scratch" '/=>/ && $1 !~ glibc && index($3, there) != 1 {print $1}' | sort -u)
[ -z "$outside" ] || { echo "expected all libraries in $dir/lib, found others:" $outside >&2; exit 1; }
for call in correct speed why; do
    env -i PATH="$PATH" python3 "$scratch/there/gpu_check.py" $call --rehearse build/tests/gpu \
        --python "${PYTHON:-python3}" --csv "$dir/rehearsed-$call.csv" >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; echo "the rehearsal of '$call' failed" >&2; exit 1; }
done
cat <<END
Rehearsed on the emulator from a copy. There, in $dir (each call is less than ten minutes; keep the CSV files):
  python3 gpu_check.py correct --csv \$OUT/correct.csv
  python3 gpu_check.py speed --csv \$OUT/speed.csv
  python3 gpu_check.py why --csv \$OUT/why.csv
Then write the measured table into docs/SPEED.md, beside the predictions.
END
