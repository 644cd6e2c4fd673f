#!/bin/sh
# run.sh - one training stage on a machine with a GPU (or without: it is only slower) and no network.
#
#   run.sh decoder MINUTES RESULTS [options of decoder.py]
#   run.sh lm      MINUTES RESULTS [options of lm.py]
#
# Renders its data first, on all cores.  RESULTS gets the log and the checkpoint in pieces of at most 15 MB:
#   cat RESULTS/decoder.pt.* >$WORK/decoder.pt     goes on elsewhere, or here with RESULTS of an earlier run
# HOURS says how much is rendered (default 12; the language model's clips are counted apart).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 3 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
stage=$1 minutes=$2 results=$3
shift 3
python=${PYTHON:-python3}
work=${WORK:-$here/work}
model=${MODEL:-$here/../../models/stemforge-mini}
[ -f "$model/model.safetensors" ] || { echo "run.sh: no model in $model: set MODEL to its folder" >&2; exit 1; }
mkdir -p "$work" "$results"
[ -d "$here/lib" ] || tar -C "$here" -xJf "$here/lib.tar.xz"
export TRAIN_LIBS="$here/lib" TRAIN_FONTS="$here/font.sf3:$here/font.sf3" OMP_NUM_THREADS=1
log=$results/$stage.log

[ ! -f "$results/$stage.pt.aa" ] || cat "$results/$stage".pt.?? >"$work/$stage.pt"
case $stage in
decoder)
    "$python" "$here/train/data.py" pool --work "$work" --hours "${HOURS:-12}" --music wide >>"$log" 2>&1
    "$python" "$here/train/decoder.py" --work "$work" --model "$model" --minutes "$minutes" "$@" >>"$log" 2>&1
    made=$work/decoder.slim.pt ;;
lm)
    "$python" "$here/train/data.py" codes --work "$work" --model "$model" --hours 0.67 --seed 99 --music wide >>"$log" 2>&1
    "$python" "$here/train/data.py" codes --work "$work" --model "$model" --hours "${HOURS:-12}" --music wide >>"$log" 2>&1
    [ -f "$work/tokenizer.json" ] || cp "$model/tokenizer.json" "$work/"
    if [ "${LM:-small}" = large ] && [ ! -f "$work/lm.pt" ]; then # four layers first: a third of the time, at half the price a step
        shallow=$((minutes / 3)) minutes=$((minutes - minutes / 3))
        LM=wide "$python" "$here/train/lm.py" --work "$work" --minutes "$shallow" --world 1 --resume "$@" --out lm-wide.pt >>"$log" 2>&1
        set -- "$@" --warm lm-wide.pt
    fi
    "$python" "$here/train/lm.py" --work "$work" --minutes "$minutes" --world 1 --resume "$@" >>"$log" 2>&1
    made=$work/lm.slim.pt ;;
*)  echo "run.sh: stage '$stage': expected decoder or lm" >&2; exit 2 ;;
esac
rm -f "$results/$stage".pt.??
split -b 15000000 "$made" "$results/$stage.pt."
tail -n 5 "$log"
