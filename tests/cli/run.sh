#!/bin/sh
# run.sh - the command line as a user meets it: results, exit statuses, one clear line for each failure.
set -u
cd "$(dirname "$0")/../.." || exit 1
bin=$PWD/build/stemforge
tmp=$(mktemp -d)
export XDG_CACHE_HOME="$tmp/xdg" # nothing is kept in the caches of whoever runs this
hub=
trap '[ -z "$hub" ] || kill $hub 2>/dev/null; rm -rf "$tmp"' EXIT
mono=tests/parity/mono/model melody=tests/parity/melody/model
bad=0 good=0
ok() { good=$((good + 1)); }
no() { bad=$((bad + 1)); echo "FAIL $*"; }
# status NAME WANT command...: the exit status is WANT; the output is in $tmp/out and $tmp/err
status() {
    name=$1 want=$2
    shift 2
    "$@" >"$tmp/out" 2>"$tmp/err"
    got=$?
    if [ $got = "$want" ]; then ok; else no "$name: exit $got, want $want: $(head -n 1 "$tmp/err")"; fi
}
# fails NAME STATUS TEXT command...: also one line on stderr that holds TEXT
fails() {
    name=$1 want=$2 text=$3
    shift 3
    status "$name" "$want" "$@"
    if [ "$(wc -l <"$tmp/err")" = 1 ] && grep -qF -- "$text" "$tmp/err"; then ok
    else no "$name: stderr lacks the one line with '$text': $(head -n 3 "$tmp/err")"; fi
}
# says NAME TEXT command...: stdout holds TEXT
says() {
    name=$1 text=$2
    shift 2
    status "$name" 0 "$@"
    if grep -qF -- "$text" "$tmp/out"; then ok; else no "$name: stdout lacks '$text'"; fi
}
same() { if cmp -s "$2" "$3"; then ok; else no "$1: $2 and $3 differ"; fi; }
gen() { "$bin" generate --model $mono --stem drums --duration 1 --seed 5 --quiet --overwrite "$@"; }

# --- usage
status help 0 "$bin" --help
status version 0 "$bin" --version
status "no command" 2 "$bin"
status "unknown command" 2 "$bin" sing
status "a mistyped command" 2 "$bin" genrate
if head -n 1 "$tmp/err" | grep -qF 'unknown command "genrate", did you mean generate?'; then ok; else no "$(head -n 1 "$tmp/err")"; fi
fails "a mistyped stem" 2 'found "drum", did you mean drums?' "$bin" generate --model $mono --stem drum
fails "a mistyped setting" 2 "unknown flag --prot, did you mean --port?" "$bin" serve --prot=80
fails "no setting at all" 2 "unknown flag --kazoo; see --help" "$bin" serve --kazoo
status "generate --help" 0 "$bin" generate --help
fails "unknown flag" 2 "did you mean --seed" "$bin" generate --sede 4
fails "wrong stem" 2 'expected drums, bass' "$bin" generate --model $mono --stem kazoo
fails "wrong number" 2 '--duration: expected a number from 0.1 to 600' "$bin" generate --duration ten
fails "wrong chord" 2 'chords[1]: ' "$bin" generate --model $mono --stem bass --chords "Am H7"
fails "wrong key" 2 'key' "$bin" generate --model $mono --stem bass --key "Q major"
fails "chords in parentheses, and one that is none" 2 "chords[2]: 'H'" "$bin" generate --model $mono --stem bass \
    --chords "C7(b9,#11) F, H"
fails "chords without blanks" 2 "put blanks between chords" "$bin" generate --model $mono --stem bass --chords CGAmF
fails "a seed out of range" 2 "--seed: expected a whole number from -9223372036854775808" "$bin" generate --model $mono \
    --stem bass --seed -9223372036854775809
fails "a tempo in another unit" 2 "--bpm: expected a number from 20 to 400" "$bin" generate --model $mono --stem bass --bpm 2hz
fails "a prompt too long" 2 "prompt: expected at most 4096 characters, found 4097" "$bin" generate --model $mono \
    --stem bass --prompt "$(head -c 4097 /dev/zero | tr '\0' x)"
fails "wrong format" 2 'mp9' "$bin" generate --model $mono --stem bass --format mp9

# --- the same bytes for the same seed; permutations.sh has every isa, type of weights, thread count and batch
status generate 0 gen --out "$tmp/a"
status "again" 0 gen --out "$tmp/b"
same "same seed" "$tmp/a/drums.wav" "$tmp/b/drums.wav"
for isa in scalar avx2 avx512 amx neon; do
    STEMFORGE_ISA=$isa gen --out "$tmp/isa" >/dev/null 2>"$tmp/err" || continue # not on this machine
    same "STEMFORGE_ISA $isa" "$tmp/a/drums.wav" "$tmp/isa/drums.wav"
done
status "STEMFORGE_THREADS" 0 env STEMFORGE_THREADS=3 "$bin" generate --model $mono --stem drums --duration 1 \
    --seed 5 --quiet --out "$tmp/t"
same "STEMFORGE_THREADS" "$tmp/a/drums.wav" "$tmp/t/drums.wav"
status "in a batch" 0 gen --stem bass --stem piano --stem other --out "$tmp/batch"
same "in a batch" "$tmp/a/drums.wav" "$tmp/batch/drums.wav"
status "other seed" 0 "$bin" generate --model $mono --stem drums --duration 1 --seed 6 --quiet --out "$tmp/c"
if cmp -s "$tmp/a/drums.wav" "$tmp/c/drums.wav"; then no "seeds 5 and 6 sound the same"; else ok; fi

# --- one packed file
for t in stored bf16 q8 q4; do
    status "convert $t" 0 "$bin" convert $mono --type $t -o "$tmp/$t.gguf"
    status "packed $t" 0 "$bin" generate --model "$tmp/$t.gguf" --stem drums --duration 1 --seed 5 --quiet --overwrite --out "$tmp/p"
    status "unpacked $t" 0 gen --weights $t --out "$tmp/u"
    same "packed $t" "$tmp/p/drums.wav" "$tmp/u/drums.wav"
    if [ $t = q8 ]; then mkdir "$tmp/u8" && cp "$tmp/u/drums.wav" "$tmp/u8"; fi
done
status "packed, continued" 0 "$bin" generate --model "$tmp/q8.gguf" --stem bass --continue "$tmp/a/drums.wav" \
    --duration 2 --seed 5 --quiet --overwrite --out "$tmp/p"
status "unpacked, continued" 0 "$bin" generate --model $mono --weights q8 --stem bass --continue "$tmp/a/drums.wav" \
    --duration 2 --seed 5 --quiet --overwrite --out "$tmp/u"
same "packed, continued" "$tmp/p/bass.wav" "$tmp/u/bass.wav"
# The same --weights give the same bytes from the folder and from a packed file, or are refused; info says why.
for t in stored f32 bf16 q8; do
    status "packed as stored, --weights $t" 0 "$bin" generate --model "$tmp/stored.gguf" --weights $t --stem drums --duration 1 --seed 5 \
        --quiet --overwrite --out "$tmp/p"
    status "the folder, --weights $t" 0 gen --weights $t --out "$tmp/u"
    same "packed as stored, --weights $t" "$tmp/p/drums.wav" "$tmp/u/drums.wav"
done
for t in f32 q4; do
    fails "packed q8, asked for $t" 1 "packed with q8 weights: expected stored or q8, found $t; convert the folder again" \
        "$bin" generate --model "$tmp/q8.gguf" --weights $t --stem drums --duration 1 --seed 5 --quiet --out "$tmp/refused"
done
says "info of a packed file" "the same bytes as the folder with --weights q8, others than with stored" "$bin" info "$tmp/q8.gguf"
says "info of exact weights" "exact weights: the same bytes as the folder" "$bin" info "$tmp/stored.gguf"
# A model has one digest in every form, and another model has another one.
digest() { "$bin" info "$1" | sed -n 's/^digest *//p'; }
cp -r $mono "$tmp/copy"
if [ "$(digest $mono | wc -c)" = 33 ] && [ "$(digest $mono)" = "$(digest "$tmp/copy")" ] && [ "$(digest $mono)" = "$(digest "$tmp/q4.gguf")" ] &&
    [ "$(digest $mono)" != "$(digest tests/parity/f16/model)" ]; then ok; else no "digests: $(digest $mono) $(digest "$tmp/copy") $(digest "$tmp/q4.gguf")"; fi
head -c 5000 "$tmp/q8.gguf" >"$tmp/cut.gguf"
fails "a packed file cut short" 1 "cut.gguf" "$bin" info "$tmp/cut.gguf"
# Recipes carry the number of the arithmetic, packed files name their layout.
LC_ALL=C sed 's/panels16-arithmetic2/panels16-arithmetic1/' "$tmp/q8.gguf" >"$tmp/old.gguf"
fails "a packed file of arithmetic 1" 1 "convert the model anew" "$bin" info "$tmp/old.gguf"
grep -v '"arithmetic"' "$tmp/u/recipe.json" >"$tmp/old.json"
fails "a recipe of arithmetic 1" 1 "expected 5, found 1: a seed can give other samples now. stemforge 0.1.0 makes" "$bin" generate --recipe "$tmp/old.json" --out "$tmp/old"
sed 's/"arithmetic": 5/"arithmetic": 2/' "$tmp/u/recipe.json" >"$tmp/between.json"
fails "a recipe of arithmetic 2" 1 "expected 5, found 2: a seed can give other samples now. A build between" "$bin" generate --recipe "$tmp/between.json" --out "$tmp/old"

# --- one take in one folder
take() { "$bin" generate --model $mono --duration 0.3 --quiet --out "$tmp/take" "$@"; }
inside() { # NAME FILE...: the folder holds these and nothing else
    name=$1
    shift
    if [ "$(ls "$tmp/take" | tr '\n' ' ')" = "$* " ]; then ok; else no "$name: $(ls "$tmp/take" | tr '\n' ' ')"; fi
}
mkdir "$tmp/first"
status "a take" 0 take --stem drums --stem bass --seed 1
cp "$tmp/take/"* "$tmp/first"
status "the same take again" 0 take --stem drums --stem bass --seed 1
for other in "--stem drums --seed 2" "--stem drums --stem bass" "--stem bass --seed 1" "--stem drums --stem bass --seed 1 --bpm 90" \
    "--stem drums --stem bass --seed 1 --format flac" "--stem drums --stem bass --seed 1 --weights q8"; do
    # shellcheck disable=SC2086
    fails "another take, $other" 1 "has another take (recipe.json); name another folder, or add --overwrite" take $other
    for f in drums.wav bass.wav recipe.json; do same "another take" "$tmp/first/$f" "$tmp/take/$f"; done
done
inside "another take was refused" bass.wav drums.wav recipe.json
status "the recipe in its own folder" 0 "$bin" generate --recipe "$tmp/take/recipe.json" --quiet --out "$tmp/take"
same "the recipe in its own folder" "$tmp/first/recipe.json" "$tmp/take/recipe.json"
status "overwritten" 0 take --stem piano --seed 2 --format flac --overwrite
inside "overwritten: nothing of the other take stays" piano.flac recipe.json
fails "a take that reads what it replaces" 1 "piano.flac is read too (--continue)" take --stem bass --overwrite --continue "$tmp/take/piano.flac"
inside "a take that reads what it replaces" piano.flac recipe.json
fails "overwritten, no model" 1 "no/such" take --stem bass --overwrite --model no/such
inside "a failure before the first stem removes nothing" piano.flac recipe.json
rm "$tmp/take/recipe.json"
fails "a sound of somebody else" 1 "piano.flac is there already" take --stem piano --format flac
echo "2 eggs" >"$tmp/take/recipe.json"
fails "a recipe of somebody else" 1 "is no take's" take --stem piano --overwrite
if [ "$(cat "$tmp/take/recipe.json")" = "2 eggs" ]; then ok; else no "a recipe of somebody else was replaced"; fi

# --- recipe, formats, models
status "chords in parentheses" 0 gen --stem bass --bpm 90 --chords "C7(b9,#11) F" --chords "Am,G" --out "$tmp/ch"
status "tempo with its unit, and seed -1" 0 "$bin" generate --model $mono --stem bass --bpm "90 BPM" --seed -1 --duration 0.3 \
    --quiet --out "$tmp/unit"
if grep -q '"seed": "18446744073709551615"' "$tmp/unit/recipe.json" && grep -q '"bpm": 90' "$tmp/unit/recipe.json"; then ok
else no "90 BPM or seed -1 is not in the recipe"; fi
# A recipe says the numbers that were used, and works from any folder.
mkdir -p "$tmp/elsewhere"
status "a recipe to take away" 0 "$bin" generate --model tests/parity/mono/model --stem bass --duration 0.3 --seed 3 --quiet --out "$tmp/away"
if grep -q '"model_top_k": 250' "$tmp/away/recipe.json" && grep -q '"model_guidance": 3.0' "$tmp/away/recipe.json"; then ok
else no "the model's top-k and guidance are not in the recipe"; fi
status "a recipe from another folder" 0 sh -c "cd '$tmp/elsewhere' && '$(realpath "$bin")' generate --recipe ../away/recipe.json --quiet --out ../away2"
same "a recipe from another folder" "$tmp/away/bass.wav" "$tmp/away2/bass.wav"
# As if the model's own had been 3 when the recipe was written: that is what is drawn with.
sed -i 's/"model_top_k": 250/"model_top_k": 3/' "$tmp/away/recipe.json"
status "a recipe of another default" 0 "$bin" generate --recipe "$tmp/away/recipe.json" --format wavf32 --quiet --out "$tmp/away3"
status "the same by a flag" 0 "$bin" generate --recipe "$tmp/away/recipe.json" --format wavf32 --top-k 3 --quiet --out "$tmp/away4"
if [ "$(tail -c 100000 "$tmp/away3/bass.wav" | sha256sum)" = "$(tail -c 100000 "$tmp/away4/bass.wav" | sha256sum)" ] &&
    ! cmp -s "$tmp/away/bass.wav" "$tmp/away3/bass.wav"; then ok; else no "the recipe's default was not used"; fi
# A recipe says which model made it, and says so when another one stands there; defaults that changed meanwhile do not count.
status "a take of a copy" 0 "$bin" generate --model "$tmp/copy" --stem bass --stem drums --duration 0.3 --seed 3 --quiet --out "$tmp/mine"
if grep -q '"model_name": "copy"' "$tmp/mine/recipe.json" && grep -q "\"model_digest\": \"$(digest $mono)\"" "$tmp/mine/recipe.json"; then ok
else no "the model's name and digest are not in the recipe"; fi
echo '{"top_k": 9, "guidance_scale": 1.5, "temperature_by_stem": {"bass": 0.3}}' >"$tmp/copy/generation_config.json"
status "the model's defaults changed" 0 "$bin" generate --recipe "$tmp/mine/recipe.json" --out "$tmp/mine2"
if grep -q "another model" "$tmp/err"; then no "defaults are no other model"; else ok; fi
for s in drums bass; do same "the model's defaults changed" "$tmp/mine/$s.wav" "$tmp/mine2/$s.wav"; done
status "one stem of it" 0 "$bin" generate --recipe "$tmp/mine/recipe.json" --stem bass --quiet --out "$tmp/mine3"
same "one stem of it" "$tmp/mine/bass.wav" "$tmp/mine3/bass.wav"
printf '\001' | dd of="$tmp/copy/model.safetensors" bs=1 seek=$(($(wc -c <"$tmp/copy/model.safetensors") - 2)) conv=notrunc 2>/dev/null
status "another model in its place" 0 "$bin" generate --recipe "$tmp/mine/recipe.json" --out "$tmp/mine4"
if grep -q "warning: --model: the recipe was made with another model: expected copy (digest $(digest $mono))" "$tmp/err"; then ok
else no "another model: $(cat "$tmp/err")"; fi
# Stable Audio stands for other numbers.
status "a take of Stable Audio" 0 "$bin" generate --model tests/parity/sa-f32/model --stem drums --duration 0.3 --steps 2 --quiet --out "$tmp/sa"
if grep -q '"model_guidance": 7.0' "$tmp/sa/recipe.json" && grep -q '"model_steps": 100' "$tmp/sa/recipe.json" && ! grep -q top_k.*[0-9][0-9] "$tmp/sa/recipe.json" &&
    grep -aq 'guidance 7' "$tmp/sa/drums.wav" && ! grep -aq 'guidance -1\|top-k -1' "$tmp/sa/drums.wav"; then ok
else no "what Stable Audio stands for: $(cat "$tmp/sa/recipe.json")"; fi
status "its recipe" 0 "$bin" generate --recipe "$tmp/sa/recipe.json" --quiet --out "$tmp/sa2"
same "its recipe" "$tmp/sa/drums.wav" "$tmp/sa2/drums.wav"
# Each of its fields comes back from the recipe, with the same bytes; without the field there are other bytes.
again() { # FIELD MODEL flags...
    field=$1 model=$2
    shift 2
    made() { "$bin" generate --stem drums --duration 0.5 --steps 3 --seed 5 --quiet --overwrite "$@"; }
    status "sa, $field" 0 made --model tests/parity/$model/model --out "$tmp/sa-one" "$@"
    status "sa, $field, from its recipe" 0 "$bin" generate --recipe "$tmp/sa-one/recipe.json" --quiet --overwrite --out "$tmp/sa-two"
    same "sa, $field, from its recipe" "$tmp/sa-one/drums.wav" "$tmp/sa-two/drums.wav"
    sed "/^  \"$field\":/d" "$tmp/sa-one/recipe.json" >"$tmp/sa-less.json"
    if cmp -s "$tmp/sa-less.json" "$tmp/sa-one/recipe.json"; then no "sa, $field is not in the recipe"; else ok; fi
    "$bin" generate --recipe "$tmp/sa-less.json" --quiet --overwrite --out "$tmp/sa-three" >/dev/null 2>&1
    if cmp -s "$tmp/sa-one/drums.wav" "$tmp/sa-three/drums.wav"; then no "sa, $field says nothing"; else ok; fi
    rm -rf "$tmp/sa-three"
}
again sampler sa-f32 --sampler dpmpp-3m-sde
again steps sa-f32 --steps 4
again canvas sa-f32 --canvas 0.7
again past_canvas sa-f32 --past-canvas --duration 1.3
again negative_prompt sa-half --negative-prompt dark
again guidance sa-original --guidance 2
again init_audio sa-small --init-audio "$tmp/sa/drums.wav"
again strength sa-small --init-audio "$tmp/sa/drums.wav" --strength 0.9
again remake_from sa-small --init-audio "$tmp/sa/drums.wav" --remake-from 0.2
again remake_to sa-small --init-audio "$tmp/sa/drums.wav" --remake-to 0.2
again continue sa-small --continue "$tmp/sa/drums.wav"
# It is packed too, from either layout: the same bytes, also of a given sound.
for m in half small; do
    for t in stored q8; do
        sound() { "$bin" generate --stem drums --duration 0.3 --steps 2 --seed 5 --quiet --overwrite "$@"; }
        status "convert sa-$m $t" 0 "$bin" convert tests/parity/sa-$m/model --type $t -o "$tmp/sa-$m-$t.gguf"
        status "packed sa-$m $t" 0 sound --model "$tmp/sa-$m-$t.gguf" --out "$tmp/p"
        status "unpacked sa-$m $t" 0 sound --model tests/parity/sa-$m/model --weights $t --out "$tmp/u"
        same "packed sa-$m $t" "$tmp/p/drums.wav" "$tmp/u/drums.wav"
    done
done
status "packed sa, varied" 0 sound --model "$tmp/sa-small-q8.gguf" --init-audio "$tmp/sa/drums.wav" --out "$tmp/p"
status "unpacked sa, varied" 0 sound --model tests/parity/sa-small/model --weights q8 --init-audio "$tmp/sa/drums.wav" --out "$tmp/u"
same "packed sa, varied" "$tmp/p/drums.wav" "$tmp/u/drums.wav"
fails "packed sa q8, asked for bf16" 1 "expected stored or q8, found bf16" sound --model "$tmp/sa-half-q8.gguf" --weights bf16 --out "$tmp/refused"
if [ "$(digest tests/parity/sa-small/model)" = "$(digest "$tmp/sa-small-q8.gguf")" ]; then ok; else no "digest of a packed sa-small"; fi
for s in 's/panels16/panels17/' 's/"flow":true/"flow":tru /' 's/"sampler":"pingpong"/"sampler":"pingponk"/' 's/"in_channels":/"in_channelz":/'; do
    LC_ALL=C sed "$s" "$tmp/sa-small-q8.gguf" >"$tmp/wrong.gguf"
    fails "a packed sa with $s" 1 "wrong.gguf" "$bin" info "$tmp/wrong.gguf"
done
status "recipe of all fields" 0 "$bin" generate --recipe "$tmp/ch/recipe.json" --quiet --out "$tmp/ch2"
same "recipe of all fields" "$tmp/ch/recipe.json" "$tmp/ch2/recipe.json"
same "recipe of all fields" "$tmp/ch/bass.wav" "$tmp/ch2/bass.wav"
if grep -q '"C7(b9,#11)"' "$tmp/ch/recipe.json"; then ok; else no "C7(b9,#11) is not in the recipe"; fi
status recipe 0 "$bin" generate --recipe "$tmp/batch/recipe.json" --quiet --out "$tmp/again"
for s in drums bass piano other; do same recipe "$tmp/batch/$s.wav" "$tmp/again/$s.wav"; done
for f in wav wav24 wavf32 flac flac24 ogg; do
    status "format $f" 0 gen --format $f --out "$tmp/f"
done
status "stereo model" 0 "$bin" generate --model tests/parity/stereo/model --stem synth --duration 1 --quiet --out "$tmp/s"
status "melody model, chords" 0 "$bin" generate --model $melody --stem guitar --chords "Am F" --bpm 100 \
    --duration 1 --quiet --overwrite --out "$tmp/m"
status "melody model, melody" 0 "$bin" generate --model $melody --stem guitar --melody "$tmp/a/drums.wav" \
    --duration 1 --quiet --overwrite --out "$tmp/m"
status "continue" 0 "$bin" generate --model $mono --stem guitar --continue "$tmp/a/drums.wav" --duration 2 --quiet --overwrite --out "$tmp/m"
status "past the window" 0 "$bin" generate --model $mono --stem bass --duration 33 --seed 1 --quiet --out "$tmp/long"
size=$(wc -c <"$tmp/long/bass.wav")
if [ "$size" -ge $((33 * 44100 * 4)) ]; then ok; else no "33 s are $size bytes"; fi
status json 0 "$bin" generate --model $mono --stem drums --duration 1 --seed 5 --json --out "$tmp/j"
if python3 -c "import json,sys; d=json.load(open('$tmp/out')); assert d['seed'] == '5' and d['stems'][0]['stem'] == 'drums'"; then ok
else no "--json is not the JSON it should be"; fi
status info 0 "$bin" info $melody
status "tune" 0 env XDG_CACHE_HOME="$tmp/cache" "$bin" tune
if grep -q "kept$" "$tmp/out" && ls "$tmp/cache/stemforge/prefetch-"* >/dev/null; then ok; else no "tune keeps nothing"; fi
kept=$(cat "$tmp/cache/stemforge/prefetch-"*)
status "info after tune" 0 env XDG_CACHE_HOME="$tmp/cache" "$bin" info $melody
if grep -q "^prefetch   ${kept%, * pages}$" "$tmp/out"; then ok; else no "info does not say '$kept'"; fi
case $kept in *", huge pages") pages=1 ;; *) pages=0 ;; esac
if [ "$(grep -c "^pages      huge" "$tmp/out")" = $pages ]; then ok; else no "info does not say the pages of '$kept'"; fi
fails "tune without a folder" 1 "XDG_CACHE_HOME" env -u HOME -u XDG_CACHE_HOME "$bin" tune
status encode 0 "$bin" encode --model $mono "$tmp/a/drums.wav" "$tmp/codes.safetensors"
status decode 0 "$bin" decode --model $mono "$tmp/codes.safetensors" "$tmp/back.wav"

status "continue codes" 0 "$bin" generate --model $mono --stem guitar --continue "$tmp/codes.safetensors" --duration 2 \
    --seed 8 --quiet --out "$tmp/codes"
status "continue audio" 0 "$bin" generate --model $mono --stem guitar --continue "$tmp/a/drums.wav" --duration 2 \
    --seed 8 --quiet --out "$tmp/audio"
fails "follow what" 2 "expected tempo, chords or melody" "$bin" generate --model $mono --stem guitar --follow "$tmp/a/drums.wav" \
    --follow-what rhythm --out "$tmp/m"
fails "follow no file" 1 "nowhere.wav" "$bin" generate --model $mono --stem guitar --follow "$tmp/nowhere.wav" --out "$tmp/m2"
fails "follow no sound" 1 "README.md: expected a WAV" "$bin" generate --model $mono --stem guitar --follow README.md --out "$tmp/m2"
fails "more than nothing" 2 "more_seconds: expected a file" "$bin" generate --model $mono --stem guitar --more 2 --out "$tmp/m"
fails "more and a length" 2 "more_seconds: expected it alone, found seconds too" "$bin" generate --model $mono --stem guitar --more 2 \
    --duration 4 --continue "$tmp/a/drums.wav" --out "$tmp/m"
fails "less than there is" 1 "expected more than the" "$bin" generate --model $mono --stem guitar --duration 0.3 \
    --continue "$tmp/a/drums.wav" --overwrite --out "$tmp/m"

# --- trace
sampled() { # SEED FILE flags...: a sampled sequence
    printf '{"name":"t","prompt":"drums","guidance":3,"greedy_frames":20,"temperature":1,"seed":%s}' "$1" >"$tmp/case.json"
    to=$2
    shift 2
    "$bin" trace $mono --case "$tmp/case.json" --out "$to" "$@"
}
status "trace, sampled" 0 sampled 1 "$tmp/t1"
status "trace, again" 0 sampled 1 "$tmp/t2" --weights f32
same "trace, the same seed" "$tmp/t1" "$tmp/t2"
status "trace, another seed" 0 sampled 2 "$tmp/t3"
if cmp -s "$tmp/t1" "$tmp/t3"; then no "trace, seeds 1 and 2 are the same"; else ok; fi
status "trace, narrow" 0 sampled 1 "$tmp/t4" --weights q8
if cmp -s "$tmp/t1" "$tmp/t4"; then no "trace --weights q8 is f32's"; else ok; fi
echo '{"prompt": "drums", "steps": 3, "seed": 5}' >"$tmp/sa-case.json"
echo '{"steps": 3}' >"$tmp/sa-steps.json"
status "trace of Stable Audio" 0 "$bin" trace tests/parity/sa-small/model --case "$tmp/sa-case.json" --out "$tmp/ts"
status "trace of Stable Audio, one thread" 0 "$bin" trace tests/parity/sa-small/model --case "$tmp/sa-case.json" --threads 1 --out "$tmp/ts1"
same "trace of Stable Audio, one thread" "$tmp/ts" "$tmp/ts1"
fails "trace of Stable Audio, no text" 1 "steps: expected a prompt" "$bin" trace tests/parity/sa-small/model --case "$tmp/sa-steps.json" --out "$tmp/ts2"
fails "trace, no such weights" 2 "--weights: expected stored" sampled 1 "$tmp/t5" --weights q3
printf '{"name":"t","prompt":"drums","greedy_frames":4,"chords":["Am","H"],"bpm":100}' >"$tmp/case.json"
fails "trace, no such chord" 1 "chords" "$bin" trace $melody --case "$tmp/case.json" --out "$tmp/t5"

# --- bench
bench() { "$bin" bench $mono --steps 2 --position 3 "$@"; }
status "bench" 0 bench --stems 1,3 --lengths 1 --csv
cp "$tmp/out" "$tmp/run.csv"
if python3 - "$tmp/run.csv" <<'E'
import csv, sys
lines = open(sys.argv[1]).read().splitlines()
assert lines[0].startswith("# stemforge bench ") and "threads" in lines[0]
rows = list(csv.DictReader(lines[1:]))
have = {(r["stage"], r["stems"]) for r in rows}
for want in ("load", "0"), ("first token", "1"), ("text encoder", "0"), ("step", "1"), ("step", "3"), ("piece", "1"), ("codec", "1"):
    assert want in have, want
assert all(float(r["value"]) > 0 for r in rows if r["stage"] != "huge pages")
frames = set()
for n in 1, 3:
    ms, rate, audio = (next(float(r["value"]) for r in rows if (r["stage"], r["stems"]) == (s, str(n))) for s in ("step", "steps", "audio"))
    assert 1 - 1e-4 < ms * rate / 1000 < 2 + 1e-4  # a step is the longer of the two, the rate of both
    frames.add(round(n * rate / audio, 2))
assert len(frames) == 1, frames  # a second of audio is as many steps for any number of stems
E
then ok; else no "bench --csv is not the CSV it should be"; fi
status "bench --compare" 0 bench --stems 1,2 --compare "$tmp/run.csv"
if grep -q "^step .* 1 .* times the .* before" "$tmp/out" && grep -q "^step .* 2 .* not in the run before" "$tmp/out"; then ok
else no "bench --compare lacks its ratios"; fi
head -n 5 "$tmp/run.csv" | cut -c 1-20 >"$tmp/cut.csv"
fails "bench, a foreign file" 1 "not a run saved by" bench --compare README.md
fails "bench, a file cut short" 1 "not a run saved by" bench --compare "$tmp/cut.csv"
sed 's/^load,0/load,x/' "$tmp/run.csv" >"$tmp/bad.csv"
fails "bench, a broken row" 1 "row 3: expected stage,stems" bench --compare "$tmp/bad.csv"
fails "bench, no number" 2 "--stems: expected numbers from 1 to 256" bench --stems 0

# --- pull, from a server that behaves as the hub does, breaks connections and redirects
hub() { # [NAME=VALUE] folder: starts a hub; its address is in $url
    : >"$tmp/url"
    env "$1" python3 tests/cli/hub.py "$2" >>"$tmp/url" 2>/dev/null &
    hub=$!
    tries=0
    while [ ! -s "$tmp/url" ] && [ $((tries += 1)) -lt 100 ]; do sleep 0.3; done
    url=$(cat "$tmp/url")
    url=${url:-http://127.0.0.1:9}
}
hub HUB_SPOIL= tests/parity/sharded/model
status pull 0 env HF_HOME="$tmp/hf" HF_ENDPOINT="$url" HF_TOKEN=hf_secret "$bin" pull org/shards
status "pulled" 0 env HF_HOME="$tmp/hf" "$bin" info org/shards
for f in tests/parity/sharded/model/*; do same "pulled file" "$f" "$tmp/hf/hub/models--org--shards/snapshots/"*/"${f##*/}"; done
status "pull again" 0 env HF_HOME="$tmp/hf" HF_ENDPOINT="$url" "$bin" pull --quiet org/shards
kill $hub
hub HUB_SPOIL=1 $mono
status "pull wrong bytes" 1 env HF_HOME="$tmp/hf2" HF_ENDPOINT="$url" "$bin" pull --quiet org/mono
if grep -q "SHA-256 is" "$tmp/err" && [ -z "$(find "$tmp/hf2" -name '*.safetensors')" ]; then ok
else no "pull wrong bytes: $(cat "$tmp/err")"; fi
kill $hub
fails "pull no name" 1 "is not a repository" "$bin" pull nobody

# --- what goes wrong
fails "melody without a melody model" 1 "melody" "$bin" generate --model $mono --out "$tmp/nothing" --stem bass --melody "$tmp/a/drums.wav"
fails "no such model" 1 "no/such" "$bin" generate --model no/such --out "$tmp/nothing" --stem bass
cp -r $mono "$tmp/broken"
chmod -R u+w "$tmp/broken"
head -c 3000 $mono/model.safetensors >"$tmp/broken/model.safetensors"
fails "truncated weights" 1 "header" "$bin" info "$tmp/broken"
: >"$tmp/broken/model.safetensors"
fails "empty weights" 1 "model.safetensors" "$bin" info "$tmp/broken"
cp $mono/model.safetensors "$tmp/broken/"
echo '{"model_type": "musicgen", "decoder": 7}' >"$tmp/broken/config.json"
fails "wrong config" 1 "text_encoder: expected an object, found nothing" "$bin" info "$tmp/broken"
sed 's/"num_hidden_layers": [0-9]*/"num_hidden_layers": 9/' $mono/config.json >"$tmp/broken/config.json"
status "missing tensors" 1 "$bin" info "$tmp/broken"
if grep -q "layers.8.*missing" "$tmp/err" && tail -n 1 "$tmp/err" | grep -q "^stemforge info: .* missing"; then ok
else no "missing tensors: $(tail -n 1 "$tmp/err")"; fi
cp $mono/config.json "$tmp/broken/"
echo '{}' >"$tmp/broken/tokenizer.json"
fails "wrong tokenizer" 1 "tokenizer.json" "$bin" info "$tmp/broken"
head -c 60 "$tmp/a/drums.wav" >"$tmp/short.wav"
fails "a WAV that lies" 1 "short.wav" "$bin" encode --model $mono "$tmp/short.wav" "$tmp/x.safetensors"
# --- takes: all are kept, the chosen one is the stem, and its recipe makes it again alone
status takes 0 "$bin" generate --model $mono --stem bass --seed 3 --duration 0.5 --takes 3 --quiet --out "$tmp/takes"
if [ "$(ls "$tmp/takes" | grep -c '^bass')" = 3 ] && [ -e "$tmp/takes/bass.wav" ]; then ok; else no "takes: $(ls "$tmp/takes")"; fi
status "a chosen take" 0 "$bin" generate --recipe "$tmp/takes/recipe.json" --quiet --out "$tmp/chosen"
if cmp -s "$tmp/takes/bass.wav" "$tmp/chosen/bass.wav"; then ok; else no "a chosen take made alone differs"; fi
status "takes again" 0 "$bin" generate --model $mono --stem bass --seed 3 --duration 0.5 --takes 3 --quiet --out "$tmp/takes"
fails "nine takes" 2 "1 to 8" "$bin" generate --model $mono --stem bass --takes 9 --out "$tmp/nine"

# Disk full: a file may not grow past 8 blocks of 512 bytes. Nothing half-written may be left.
fails "disk full" 1 "cannot write" sh -c "trap '' XFSZ; ulimit -f 8; exec $bin generate --model $mono --stem drums \
    --duration 1 --quiet --out $tmp/full"
if [ -z "$(ls -A "$tmp/full")" ]; then ok; else no "disk full left $(ls "$tmp/full")"; fi
# --- what looks at sound
status plot 0 "$bin" plot "$tmp/a/drums.wav" --out "$tmp/pictures"
if [ "$(head -c 4 "$tmp/pictures/drums.png" | tail -c 3)" = PNG ]; then ok; else no "plot made no PNG"; fi
status mix 0 "$bin" mix "$tmp/a/drums.wav" "$tmp/a/drums.wav" --out "$tmp/mix.wav"
status analyse 0 "$bin" analyse "$tmp/mix.wav" --bpm 120 --chords "Am F" --json
# 0.8 in 16 bits is 26214 / 32768.
if grep -q '"seconds":1.0,"peak":0.8,' "$tmp/out"; then ok; else no "analyse: $(cat "$tmp/out")"; fi
status mix 0 "$bin" mix "$tmp/a/drums.wav" "$tmp/mix.wav" --gain drums=3,mix=-2 --pan drums=-0.5 --mute mix --loudness -20 --out "$tmp/mix2.wav"
status analyse 0 "$bin" analyse "$tmp/mix2.wav" --json
if grep -q '"lufs":-20.0' "$tmp/out" && grep -q '"key":"' "$tmp/out"; then ok; else no "mix --loudness: $(cat "$tmp/out")"; fi
fails "a gain of no track" 2 "no file is called bass" "$bin" mix "$tmp/a/drums.wav" --gain bass=1 --out "$tmp/mix2.wav"
fails "a gain that is no number" 2 "NAME=NUMBER" "$bin" mix "$tmp/a/drums.wav" --gain drums=loud --out "$tmp/mix2.wav"
fails "mix to nowhere" 2 "--out is missing" "$bin" mix "$tmp/a/drums.wav"
fails "chords without a tempo" 2 "--bpm" "$bin" analyse "$tmp/mix.wav" --chords Am
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n' >"$tmp/lfs.wav"
for c in "generate --stem bass --continue $tmp/lfs.wav --out $tmp/lfs" "generate --model $melody --stem bass --melody $tmp/lfs.wav --out $tmp/lfs" \
    "mix $tmp/lfs.wav --out $tmp/lfs2.wav" "analyse $tmp/lfs.wav" "plot $tmp/lfs.wav" "encode $tmp/lfs.wav $tmp/lfs.safetensors" \
    "generate --recipe $tmp/lfs.wav" "trace $mono --case $tmp/lfs.wav" "grid $tmp/lfs.wav --click $tmp/lfs2.wav"; do
    # shellcheck disable=SC2086
    fails "a Git LFS pointer: $c" 1 'git lfs pull' "$bin" $c
done
printf '\0\0\0\040ftypM4A ' >"$tmp/song.m4a"
fails "a kind of sound that is not read" 1 "found M4A or MP4; convert it to WAV first" "$bin" analyse "$tmp/song.m4a"
mkdir "$tmp/no-model"
fails "a folder without config.json" 1 "has no config.json: expected a whole checkpoint" "$bin" info "$tmp/no-model"
says "serve --help has examples" "stemforge serve --port 8080" "$bin" serve --help
fails "plot of no sound" 1 "expected a WAV" "$bin" plot "$tmp/broken/config.json"

# The suffix says the format, and a file that is read is not written.
for f in wav:RIFF flac:fLaC FLAC:fLaC ogg:OggS; do
    status "mix to ${f%:*}" 0 "$bin" mix "$tmp/a/drums.wav" --out "$tmp/mix.${f%:*}"
    if [ "$(head -c 4 "$tmp/mix.${f%:*}")" = "${f#*:}" ]; then ok; else no "mix.${f%:*} is no ${f#*:}"; fi
    status "decode to ${f%:*}" 0 "$bin" decode --model $mono "$tmp/codes.safetensors" "$tmp/decoded.${f%:*}"
    if [ "$(head -c 4 "$tmp/decoded.${f%:*}")" = "${f#*:}" ]; then ok; else no "decoded.${f%:*} is no ${f#*:}"; fi
done
fails "mix to MP3" 2 "ends in .wav, .flac or .ogg, found .mp3" "$bin" mix "$tmp/a/drums.wav" --out "$tmp/mix.mp3"
fails "mix, two formats" 2 "ends in .wav for --format wav24" "$bin" mix "$tmp/a/drums.wav" --out "$tmp/mix.flac" --format wav24
fails "decode to MP3" 2 "ends in .wav, .flac or .ogg, found .mp3" "$bin" decode "$tmp/codes.safetensors" "$tmp/x.mp3"
fails "encode to a WAV" 2 "ends in .safetensors, found .wav" "$bin" encode --model $mono "$tmp/a/drums.wav" "$tmp/x.wav"
fails "convert to safetensors" 2 "ends in .gguf, found .safetensors" "$bin" convert $mono --out "$tmp/x.safetensors"
fails "trace to a WAV" 2 "ends in .safetensors, found .wav" "$bin" trace $mono --case "$tmp/case.json" --out "$tmp/x.wav"
cp "$tmp/mix.wav" "$tmp/own.wav"
ln -s own.wav "$tmp/own-link.wav"
ln "$tmp/own.wav" "$tmp/own-too.wav"
for f in own.wav own-link.wav own-too.wav; do
    fails "mix over what it reads, $f" 2 "is read too" "$bin" mix "$tmp/a/drums.wav" "$tmp/own.wav" --out "$tmp/$f"
done
same "mix over what it reads" "$tmp/mix.wav" "$tmp/own.wav"
cp "$tmp/mix.wav" "$tmp/own.png"
fails "plot over what it reads" 1 "is read too" "$bin" plot "$tmp/own.png"
fails "two plots of one name" 1 "would both be drawn to" "$bin" plot "$tmp/a/drums.wav" "$tmp/b/drums.wav" --out "$tmp/pictures"
# A device, a FIFO, a link and the standard output are written to.
fails "mix to a full device" 1 "No space left" "$bin" mix "$tmp/a/drums.wav" --out /dev/full
if [ -c /dev/full ]; then ok; else no "/dev/full is no device any more"; fi
mkfifo "$tmp/fifo"
cat "$tmp/fifo" >"$tmp/through" &
status "mix to a FIFO" 0 timeout 20 "$bin" mix "$tmp/a/drums.wav" --out "$tmp/fifo"
wait $!
"$bin" mix "$tmp/a/drums.wav" --out "$tmp/one.wav" >"$tmp/out"
same "mix to a FIFO" "$tmp/one.wav" "$tmp/through"
"$bin" mix "$tmp/a/drums.wav" --out /dev/stdout >"$tmp/out" 2>"$tmp/err"
same "mix to stdout" "$tmp/one.wav" "$tmp/out"
"$bin" mix "$tmp/a/drums.wav" --out /dev/stdout 2>"$tmp/err" | cat >"$tmp/out"
same "mix to a pipe" "$tmp/one.wav" "$tmp/out"
ln -s linked.wav "$tmp/link.wav"
status "mix to a link" 0 "$bin" mix "$tmp/a/drums.wav" --out "$tmp/link.wav"
if [ -L "$tmp/link.wav" ]; then ok; else no "the link was replaced"; fi
same "mix to a link" "$tmp/one.wav" "$tmp/linked.wav"
# A FIFO that is read, and has no writer, keeps nobody waiting.
for what in "mix $tmp/fifo --out $tmp/x.wav" "plot $tmp/fifo" "analyse $tmp/fifo" "encode $tmp/fifo $tmp/x.safetensors" \
    "decode $tmp/fifo $tmp/x.wav" "info $tmp/fifo" "generate --recipe $tmp/fifo" "trace $mono --case $tmp/fifo --out $tmp/x" \
    "generate --model $melody --stem bass --melody $tmp/fifo --out $tmp/ff" "bench $mono --compare $tmp/fifo" \
    "generate --model $mono --stem bass --continue $tmp/fifo --out $tmp/ff" "convert $tmp/fifo --out $tmp/x.gguf"; do
    # shellcheck disable=SC2086
    fails "a FIFO: ${what%% *}" 1 "fifo" timeout 20 "$bin" $what
done
for f in config.json generation_config.json tokenizer.json model.safetensors preprocessor_config.json; do
    rm -rf "$tmp/piped"
    cp -r $melody "$tmp/piped"
    chmod -R u+w "$tmp/piped"
    rm -f "$tmp/piped/$f"
    mkfifo "$tmp/piped/$f"
    fails "a FIFO as $f" 1 "$f" timeout 20 "$bin" info "$tmp/piped"
done
fails "an argument too few" 2 "expected [--model MODEL] CODES.safetensors AUDIO, found only a" "$bin" decode a
fails "no argument" 2 "expected FILE... --out FILE, found nothing" "$bin" mix
fails "an argument too many" 2 "AUDIO, found also c" "$bin" decode a b c
fails "an argument where there is none" 2 "expected options only, found also drums" "$bin" generate drums
fails "a short option" 2 "unknown option -x" "$bin" plot -x

# What cannot be written is told before the work: the model is not even looked for.
: >"$tmp/file"
mkdir -p "$tmp/taken/drums.wav"
fails "--out is a file" 1 "--out: " "$bin" generate --model no/such --stem drums --out "$tmp/file"
fails "a stem is a folder" 1 "--out: expected a file to write, $tmp/taken/drums.wav is a folder" \
    "$bin" generate --model no/such --stem drums --out "$tmp/taken"
fails "convert --out" 1 "--out: cannot create" "$bin" convert no/such --out "$tmp/none/x.gguf"
fails "trace --out" 1 "--out: cannot create" "$bin" trace no/such --case "$tmp/case.json" --out "$tmp/none/x"
fails "mix --out" 1 "--out: cannot create" "$bin" mix "$tmp/none/a.wav" --out "$tmp/none/x"
fails "encode to nowhere" 1 "cannot create" "$bin" encode --model no/such "$tmp/none/a.wav" "$tmp/none/x"
if [ "$(ls "$tmp/taken")" = drums.wav ]; then ok; else no "the look left $(ls "$tmp/taken")"; fi

# Files' names.
pattern='{style}_{bpm}bpm_{key}_{stem}'
named() { "$bin" generate --model $mono --stem drums --stem bass --duration 0.3 --seed 5 --quiet --out "$tmp/named" "$@"; }
status "a pattern" 0 named --style "deep/house" --bpm 97.5 --key "f# minor" --name "$pattern"
if [ "$(ls "$tmp/named" | tr '\n' ' ')" = "deep-house_97.5bpm_F#m_bass.wav deep-house_97.5bpm_F#m_drums.wav recipe.json " ]; then ok
else no "a pattern: $(ls "$tmp/named")"; fi
status "its recipe" 0 "$bin" generate --recipe "$tmp/named/recipe.json" --quiet --out "$tmp/named2"
same "a pattern's recipe" "$tmp/named/deep-house_97.5bpm_F#m_bass.wav" "$tmp/named2/deep-house_97.5bpm_F#m_bass.wav"
status "another name in its place" 0 named --name "{seed}-{stem}" --overwrite
if [ "$(ls "$tmp/named" | tr '\n' ' ')" = "5-bass.wav 5-drums.wav recipe.json " ]; then ok; else no "another name: $(ls "$tmp/named")"; fi
fails "a pattern without the stem" 2 'name: expected {stem} in it, found "take"' named --name take
fails "a pattern with an unknown place" 2 "name: expected {stem}, {style}, {bpm}, {key} or {seed}, found {mood}" named --name "{mood}{stem}"
fails "a pattern of what is not given" 2 "name: {bpm} is not given" named --name "{bpm}{stem}"
fails "a pattern with an open brace" 2 "name: expected a } behind {bpm" named --name "{stem}{bpm"
fails "a pattern that hides" 2 "begins with a dot" named --name "../{stem}"

# Bars, loops, fades: what the finished files hold.
status "music" 0 python3 tests/cli/music.py "$bin"
if [ -s "$tmp/out" ]; then grep FAIL "$tmp/out"; fi
fails "bars without a tempo" 2 "bars: expected a tempo (bpm) beside 3 bars, found none" "$bin" generate --stem drums --bars 3
fails "bars and seconds" 2 "bars: expected bars or seconds, found both" "$bin" generate --model $mono --stem drums --bars 2 \
    --bpm 99 --duration 4
fails "a loop without bars" 2 "loop: expected bars beside it" gen --loop
status "a loop" 0 "$bin" generate --model $mono --stem drums --bars 1 --bpm 200 --loop --seed 5 --quiet --out "$tmp/loop"
status "its recipe" 0 "$bin" generate --recipe "$tmp/loop/recipe.json" --quiet --out "$tmp/loop2"
same "a loop's recipe" "$tmp/loop/drums.wav" "$tmp/loop2/drums.wav"
status "its recipe with seconds in place of bars" 2 "$bin" generate --recipe "$tmp/loop/recipe.json" --duration 1 --out "$tmp/loop2"
# A recipe that says nothing of fades is older than the short one.
gen --fade-in 0.1 --fade-out 0.1 --out "$tmp/old"
sed -i '/"fade_/d' "$tmp/old/recipe.json"
status "an older recipe" 0 "$bin" generate --recipe "$tmp/old/recipe.json" --quiet --out "$tmp/old2"
same "an older recipe" "$tmp/old/drums.wav" "$tmp/old2/drums.wav"

# The progress line on terminals of any width.
for columns in 200 80 40 20 5; do
    status "progress in $columns columns" 0 python3 tests/cli/terminal.py $columns "$bin" generate --model $mono --stem drums \
        --stem bass --duration 20 --seed 1 --out "$tmp/tty"
done

# SIGINT ends it cleanly: status 130, nothing half-written.
"$bin" generate --model $mono --stem drums --duration 600 --quiet --out "$tmp/int" 2>"$tmp/err" &
pid=$!
sleep 1
kill -INT $pid
wait $pid
if [ $? = 130 ] && grep -q stopped "$tmp/err" && [ -z "$(ls -A "$tmp/int")" ]; then ok
else no "SIGINT: $(cat "$tmp/err") $(ls "$tmp/int")"; fi

echo "$good passed, $bad failed"
[ $bad = 0 ]
