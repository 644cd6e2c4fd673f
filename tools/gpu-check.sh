#!/bin/sh
# gpu-check.sh [DIR] - a bundle for a machine with an NVIDIA GPU and nothing to fetch from (default
# build/gpu-check, under 64 MiB), checked here as far as an emulator goes; then the three calls to make there.
# The program brings its libraries, all but glibc's; Python is the machine's own. No measure of a GPU is
# believed before `correct` has passed on it.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-build/gpu-check}
make -s -j"$(nproc)" all build/tests/gpu/libcuda.so.1
build/stemforge info | grep -q '^GPU code   nvcc' || { echo "the program has no machine code for GPUs: tools/install.sh gpu" >&2; exit 1; }
rm -rf "$dir"
mkdir -p "$dir/lib" "$dir/fixtures"
strip -o "$dir/stemforge" build/stemforge
ldd build/stemforge | awk '$3 ~ /^\// && $1 !~ /^(libc|libm|libdl|libpthread|librt|ld-linux.*)\.so/ {print $3}' |
    while read -r lib; do cp -L "$lib" "$dir/lib/"; done
for m in mono stereo melody bf16 f16; do cp -r "tests/parity/$m/model" "$dir/fixtures/$m"; done
cp -r models/stemforge-mini "$dir/mini"
cp tools/gpu_check.py "$dir/"
size=$(du -sm "$dir" | cut -f1)
echo "$dir: $size MiB"
[ "$size" -lt 64 ] || { echo "expected under 64 MiB" >&2; exit 1; }
python3 "$dir/gpu_check.py" correct --quick --driver build/tests/gpu --csv "$dir/emulated.csv"
cat <<END
There, in $dir (each call is less than ten minutes; keep the CSV files):
  python3 gpu_check.py correct --csv \$OUT/correct.csv
  python3 gpu_check.py speed --csv \$OUT/speed.csv
  python3 gpu_check.py why --csv \$OUT/why.csv
Then write the measured table into docs/SPEED.md, beside the predictions.
END
