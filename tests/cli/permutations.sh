#!/bin/sh
# permutations.sh BIN [PATTERN] [MODEL flags...] - the same bytes for every permutation of isa x weights x threads x batch.
#
# A permutation is named isa-weights-threads-batch: avx2-q8-t3-b4. For each type of weights all of them
# must equal scalar-TYPE-t1-b1, plain C on one thread, alone. PATTERN picks some: '*-q8-*'. An instruction
# set that this machine lacks is left out and said so. MODEL is MusicGen's unless said otherwise; of Stable Audio:
#   tests/cli/permutations.sh build/stemforge '*' tests/parity/sa-small/model --steps 3 --duration 0.5
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=${1:-build/stemforge} pattern=${2:-*} # one argument, quoted
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
model=${3:-tests/parity/mono/model}
shift $(($# < 3 ? $# : 3))
flags=$* same=0 differ=0 left_out=

make_one() { # ISA WEIGHTS THREADS BATCH: the drums as $tmp/o/drums.wav
    others=
    [ "$4" = 1 ] || others="--stem bass --stem piano --stem other"
    rm -rf "$tmp/o"
    # shellcheck disable=SC2086
    "$bin" generate --model "$model" --stem drums $others --duration 1 --seed 5 --quiet --isa "$1" \
        --weights "$2" --threads "$3" --out "$tmp/o" $flags 2>"$tmp/err"
}

for isa in scalar avx2 avx512 amx neon; do
    make_one $isa f32 1 1 || { grep -q "$isa" "$tmp/err" || cat "$tmp/err"; left_out="$left_out $isa"; continue; }
    for weights in stored f32 bf16 q8 q4; do
        for threads in 1 2 3 8; do
            for batch in 1 4; do
                name=$isa-$weights-t$threads-b$batch
                # shellcheck disable=SC2254
                case $name in $pattern) ;; *) continue ;; esac
                if [ ! -e "$tmp/$weights.wav" ]; then
                    make_one scalar $weights 1 1 && cp "$tmp/o/drums.wav" "$tmp/$weights.wav"
                fi
                if make_one $isa $weights $threads $batch && cmp -s "$tmp/$weights.wav" "$tmp/o/drums.wav"; then
                    same=$((same + 1))
                else
                    differ=$((differ + 1))
                    echo "FAIL $name: expected the bytes of scalar-$weights-t1-b1: $(head -n 1 "$tmp/err")"
                fi
            done
        done
    done
done
[ -z "$left_out" ] || echo "not on this machine:$left_out"
echo "$same permutations equal, $differ differ"
[ $differ = 0 ] && [ $same != 0 ]
