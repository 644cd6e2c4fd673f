#!/bin/sh
# run.sh - pins determinism: the bytes that come out today came out of the program before today's changes.
#
#   tests/determinism/run.sh                  compares; one line for each difference
#   tests/determinism/run.sh --write          writes both lists anew
#   tests/determinism/run.sh --write surface  writes that list alone: sound or surface
#
# Every value in the two lists is made by our own output: they prove that nothing changed, not that it is right
# (tests/parity proves that). A changed line is a decision, and its commit says why.
#   sound.txt    SHA-256 of stems, codes, tensors and packed files. They depend on the model, the request and the
#                seed alone, so some are made a second time with one thread and other instruction sets.
#   surface.txt  what people and programs read: --help, openapi.json, recipe, callback, the names in /metrics.
# FLAC, Ogg and PNG are not here: their bytes belong to the version of a library.
# STEMFORGE=FILE is the program to run, build/stemforge unless said otherwise.
set -u
export LC_ALL=C
unset STEMFORGE_THREADS STEMFORGE_ISA
cd "$(dirname "$0")/../.." || exit 1
bin=${STEMFORGE:-$PWD/build/stemforge}
here=tests/determinism
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
problem() { echo "FAIL $*"; echo "$*" >>"$tmp/problems"; }
: >"$tmp/problems"
: >"$tmp/sound.txt"
: >"$tmp/surface.txt"

# sum NAME FILE: one line of sound.txt
sum() { echo "$(sha256sum <"$2" | cut -c 1-64) $1" >>"$tmp/sound.txt"; }
# stems NAME STEM[,STEM] flags...: generates, and sums each stem
stems() {
    name=$1 wanted=$(echo "$2" | tr , ' ') flags=
    shift 2
    for s in $wanted; do flags="$flags --stem $s"; done
    rm -rf "$tmp/out"
    # shellcheck disable=SC2086 # names of stems hold no blanks
    if ! "$bin" generate $flags --seed 5 $fades --quiet --out "$tmp/out" "$@" 2>"$tmp/err"; then
        problem "$name: $(head -n 1 "$tmp/err")"
        return
    fi
    for s in $wanted; do sum "$name $s" "$tmp/out/$s.wav"; done
}

# Most lines are older than the command line's short fade, and say what they were made with.
old_fades="--fade-in 0.1 --fade-out 0.1"
sounds() {
    p=tests/parity fades=$old_fades
    for m in mono melody stereo stereo-melody bf16 f16 sharded parametrized; do
        for w in stored f32 bf16 q8 q4; do
            stems "$m $w" drums,bass --model $p/$m/model --weights $w --bpm 120 --chords "Am F" --duration 0.5
        done
    done
    for w in stored f32 bf16 q8 q4; do
        stems "mini $w" drums,bass --model models/stemforge-mini --weights $w --bpm 120 --chords "Am F" --duration 2
    done
    stems "mini words" piano --model models/stemforge-mini --style jazz --key "A minor" --prompt "slow, brushed" --duration 1
    stems "mono greedy" other --model $p/mono/model --temperature 0 --guidance 1 --duration 0.5
    stems "mono top" synth --model $p/mono/model --top-k 0 --top-p 0.9 --temperature 1.3 --guidance 5 --duration 0.5
    stems "mono past the window" bass --model $p/mono/model --duration 31
    stems "stereo continue" guitar --model $p/stereo/model --continue $p/stereo/continue.wav --duration 1
    for m in melody stereo-melody; do
        stems "$m melody" guitar --model $p/$m/model --melody $p/$m/melody.wav --duration 1
    done
    stems "melody past the window" vocals --model $p/melody/model --melody $p/melody/melody.wav --weights q8 --duration 31
    fades=
    stems "mini fades" drums --model models/stemforge-mini --bpm 120 --duration 1
    stems "mini loop" bass,piano --model models/stemforge-mini --bpm 97.3 --chords "Am F C" --bars 2 --loop
    stems "mini past the window" drums,bass --model models/stemforge-mini --bpm 97.3 --chords "Am C/E" --duration 21
    stems "mini sections" drums,bass --model models/stemforge-mini --bpm 140 --key "A minor" --section "1;;drums" --section "2; F G" --ending
    fades=$old_fades
    stems "mono float" drums --model $p/mono/model --format wavf32 --duration 0.5
    stems "mono 24 bits" drums --model $p/mono/model --format wav24 --duration 0.5

    for m in sa-f32 sa-half sa-original sa-small; do
        stems "$m" drums,bass --model $p/$m/model --steps 4 --negative-prompt dark --duration 0.5
        stems "$m without noise" piano --model $p/$m/model --steps 4 --temperature 0 --guidance 1 --duration 0.5
    done
    for m in sa-f32 sa-small; do
        stems "$m past the canvas" drums --model $p/$m/model --steps 3 --duration 2.2 --past-canvas
    done

    "$bin" encode --model $p/mono/model $p/mono/continue.wav "$tmp/codes.safetensors" >/dev/null &&
        "$bin" decode --model $p/mono/model "$tmp/codes.safetensors" "$tmp/decoded.wav" >/dev/null || problem "the codec failed"
    sum "mono encode" "$tmp/codes.safetensors"
    sum "mono decode" "$tmp/decoded.wav"
    stems "mono continue" guitar --model $p/mono/model --continue "$tmp/codes.safetensors" --duration 2
    "$bin" mix "$tmp/decoded.wav" $p/mono/continue.wav --balance none --out "$tmp/mix.wav" >/dev/null || problem "mix failed"
    sum "mix" "$tmp/mix.wav"
    "$bin" mix "$tmp/decoded.wav" $p/mono/continue.wav --out "$tmp/mix.wav" >/dev/null || problem "mix failed"
    sum "mix balanced" "$tmp/mix.wav"
    for w in q8 q4; do
        "$bin" convert $p/mono/model --type $w -o "$tmp/$w.gguf" >/dev/null 2>&1 || problem "convert $w failed"
        sum "mono convert $w" "$tmp/$w.gguf"
    done
    printf '{"name":"t","prompt":"drums","guidance":3,"greedy_frames":8}' >"$tmp/case.json"
    "$bin" trace $p/mono/model --case "$tmp/case.json" --out "$tmp/trace" >/dev/null || problem "trace failed"
    sum "mono trace" "$tmp/trace"
    printf '{"prompt":"drums","guidance":4,"seconds":0.5,"steps":3,"seed":5}' >"$tmp/case.json"
    "$bin" trace $p/sa-small/model --case "$tmp/case.json" --out "$tmp/trace" >/dev/null || problem "trace of sa-small failed"
    sum "sa-small trace" "$tmp/trace"
}

# Some of the above with one thread, or another instruction set: the same line is expected once more.
others() {
    for w in stored q8; do
        for how in "--threads 1" "--isa scalar" "--isa avx2" "--isa avx512" "--isa amx" "--isa neon"; do
            # shellcheck disable=SC2086 # a flag and its value
            "$bin" generate --model tests/parity/mono/model --stem drums --weights $w --bpm 120 --chords "Am F" --duration 0.5 \
                --seed 5 $old_fades --quiet --overwrite --out "$tmp/other" $how 2>/dev/null || continue # not on this machine
            expect "mono $w drums" "$tmp/other/drums.wav" "$how"
        done
        "$bin" generate --model models/stemforge-mini --stem bass --weights $w --bpm 120 --chords "Am F" --duration 2 \
            --seed 5 $old_fades --quiet --overwrite --out "$tmp/other" --threads 1 || problem "mini $w failed"
        expect "mini $w bass" "$tmp/other/bass.wav" "--threads 1"
    done
    for how in "--threads 1" "--isa scalar" "--isa avx2"; do
        # shellcheck disable=SC2086 # a flag and its value
        "$bin" generate --model tests/parity/sa-f32/model --stem drums --steps 4 --negative-prompt dark --duration 0.5 --seed 5 \
            $old_fades --quiet --overwrite --out "$tmp/other" $how 2>/dev/null || continue # not on this machine
        expect "sa-f32 drums" "$tmp/other/drums.wav" "$how"
        # shellcheck disable=SC2086
        "$bin" generate --model tests/parity/sa-f32/model --stem drums --stem bass --steps 3 --duration 2.2 --past-canvas --seed 5 \
            $old_fades --quiet --overwrite --out "$tmp/other" $how 2>/dev/null || problem "past the canvas failed with $how"
        expect "sa-f32 past the canvas drums" "$tmp/other/drums.wav" "$how"
    done
    # Not the scalar level: five seconds of this codec take it a minute of processor time.
    for how in "--threads 1" "--isa avx2" "--isa avx512"; do
        # shellcheck disable=SC2086 # a flag and its value
        "$bin" generate --model models/stemforge-mini --stem bass --bpm 97.3 --chords "Am F C" --bars 2 --loop --seed 5 \
            --quiet --overwrite --out "$tmp/other" $how 2>/dev/null || continue # not on this machine
        expect "mini loop bass" "$tmp/other/bass.wav" "$how"
    done
    for how in "--threads 1" "--isa avx2"; do # its timbre is held over two spans of 9.9 s
        # shellcheck disable=SC2086 # a flag and its value
        "$bin" generate --model models/stemforge-mini --stem bass --bpm 97.3 --chords "Am C/E" --duration 21 --seed 5 \
            --quiet --overwrite --out "$tmp/other" $how 2>/dev/null || continue # not on this machine
        expect "mini past the window bass" "$tmp/other/bass.wav" "$how"
    done
}
# expect NAME FILE HOW
expect() {
    if grep -qxF "$(sha256sum <"$2" | cut -c 1-64) $1" "$tmp/sound.txt"; then good=$((good + 1))
    else problem "$1 with $3: other bytes than without"; fi
}

# line NAME: one line of surface.txt, the digest of what comes in
line() { echo "$(sha256sum | cut -c 1-64) $1" >>"$tmp/surface.txt"; }
surfaces() {
    line "openapi.json" <web/openapi.json
    "$bin" --help | line "--help"
    for c in $("$bin" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do "$bin" "$c" --help | line "$c --help"; done
    "$bin" serve --settings | line "serve --settings"
    "$bin" generate --model tests/parity/mono/model --stem drums --stem bass --bpm 120 --style rock --key "A minor" \
        --chords "Am F" --prompt slow --duration 0.5 --seed 5 --quiet --out "$tmp/recipe" || problem "no recipe"
    sed 's/^  "stemforge": .*/  "stemforge": VERSION,/; s|"model": ".*/tests/|"model": "tests/|; s/^/recipe /' "$tmp/recipe/recipe.json" >>"$tmp/surface.txt"
    # What only a running service says. Python, because a callback needs a receiver.
    if ! python3 $here/service.py "$bin" "$tmp/sound.txt" >>"$tmp/surface.txt" 2>"$tmp/err"; then
        problem "the service: $(tail -n 1 "$tmp/err")"
    fi
}

# compare LIST: a line on stdout for each difference
compare() {
    good=$((good + $(grep -cxF -f "$here/$1" "$tmp/$1")))
    diff "$here/$1" "$tmp/$1" >"$tmp/diff" && return
    sed -n "s/^< /$1 was: /p; s/^> /$1 is:  /p" "$tmp/diff"
    sed -n 's/^[<>] \([0-9a-f]\{64\} \)*//p' "$tmp/diff" | sort -u >>"$tmp/problems"
}

good=0
sounds
others
surfaces
case ${1-} in
--write)
    for list in ${2:-sound surface}; do cp "$tmp/$list.txt" $here/ && echo "wrote $here/$list.txt"; done
    ;;
esac
compare sound.txt
compare surface.txt
bad=$(wc -l <"$tmp/problems")
echo "$good passed, $((bad)) failed"
[ "$bad" = 0 ]
