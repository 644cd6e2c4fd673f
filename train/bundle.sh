#!/bin/sh
# bundle.sh - all that training needs on a GPU machine without network: bundle.sh [OUT]  (default build/bundle)
#
# Scripts, FluidSynth with the libraries it needs, and MuseScore General's small font with our presets' samples.
# The other machine brings Python with PyTorch, transformers, tokenizers, NumPy and SciPy, and a clone for the model.
# There: sh OUT/run.sh decoder 20 RESULTS   (run.sh says more).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../build/bundle}
python=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

rm -rf "$out"
mkdir -p "$out/train" "$tmp/deb" "$tmp/lib"
cp "$here"/*.py "$out/train/"
cp "$here/run.sh" "$out/"

# Packages are unpacked, not installed: the machine that makes the bundle may have other versions, or none.
(cd "$tmp/deb" && apt-get download -q musescore-general-soundfont-small)
for deb in "$tmp"/deb/*.deb; do dpkg -x "$deb" "$tmp/root"; done
"$python" "$here/font.py" "$tmp/root/usr/share/sounds/sf3/MuseScore_General_Lite.sf3" "$out/font.sf3"

fluid=$(ldconfig -p | sed -n 's/.*libfluidsynth\.so\.3 .*=> //p' | head -n 1)
[ -n "$fluid" ] || { echo "bundle.sh: libfluidsynth.so.3 is missing: apt-get install libfluidsynth3" >&2; exit 1; }
{ echo "$fluid"; ldd "$fluid" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'; } | while read -r file; do
    case $(basename "$file") in
    libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | libstdc++.so* | libgcc_s.so*) ;; # every Linux has them
    *) cp -L "$file" "$tmp/lib/" ;;
    esac
done
tar -C "$tmp" -cJf "$out/lib.tar.xz" lib
du -ab "$out" | awk -v out="$out" '$2 == out { printf "%s: %.1f MB\n", out, $1 / 1e6; if ($1 > 60e6) exit 1 }'
