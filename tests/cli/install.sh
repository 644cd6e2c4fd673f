#!/bin/sh
# install.sh - what `make install` puts down and takes away, the library as somebody else's program meets it,
# the caller's flags, and builds that write nothing into the source.
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
bad=0 good=0
ok() { good=$((good + 1)); }
no() { bad=$((bad + 1)); echo "FAIL $*"; }
# does NAME command...: exit status 0
does() {
    name=$1
    shift
    if "$@" >"$tmp/out" 2>&1; then ok; else no "$name: $(tail -n 3 "$tmp/out")"; fi
}
there() { if [ -s "$1" ]; then ok; else no "expected a file: $1"; fi; }
model=tests/parity/mono/model

# --- packaging: a folder with a blank, and nothing left behind
stage="$tmp/a b"
does "install" make -s install DESTDIR="$stage" PREFIX=/usr
for f in bin/stemforge lib/libstemforge.a include/stemforge.h include/stemforge_error.h lib/pkgconfig/stemforge.pc \
    lib/systemd/system/stemforge.service share/bash-completion/completions/stemforge share/zsh/site-functions/_stemforge \
    share/fish/vendor_completions.d/stemforge.fish share/man/man1/stemforge.1 share/man/man1/stemforge-generate.1 \
    share/man/man5/stemforge.env.5 share/stemforge/stemforge.env \
    share/stemforge/models/stemforge-mini/model.safetensors share/stemforge/models/stemforge-mini/LICENSE \
    share/doc/stemforge/LICENSE share/doc/stemforge/OPERATIONS.md share/doc/stemforge/CHANGELOG.md; do
    there "$stage/usr/$f"
done
if grep -q '^ExecStart=/usr/bin/stemforge serve$' "$stage/usr/lib/systemd/system/stemforge.service" &&
    ! grep -rq '@[A-Z]*@' "$stage/usr/lib/systemd" "$stage/usr/lib/pkgconfig"; then ok
else no "the unit does not name the prefix"; fi
does "the installed program runs" "$stage/usr/bin/stemforge" --version
for line in "stemforge [0-9.]*" "commit       [0-9a-f-]*.*" "arithmetic   [0-9]*" "processor    .*, level [a-z0-9]* of [a-z0-9, ]*scalar" "GPU kernels  .*" "models       .*safetensors and GGUF" "audio        WAV, FLAC, Ogg" "queue        SQLite, PostgreSQL"; do
    if grep -qx "$line" "$tmp/out"; then ok; else no "--version has no line \"$line\": $(cat "$tmp/out")"; fi
done
# Anywhere, without a name: the installed model; and the page under the address of the first line.
does "the installed model" sh -c "cd / && '$stage/usr/bin/stemforge' info"
if grep -q stemforge-mini "$tmp/out"; then ok; else no "info without a model: $(cat "$tmp/out")"; fi
does "the checkout's model" sh -c "cd / && '$root/build/stemforge' info"
port=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
(cd "$tmp" && exec env DATA_DIR="$tmp/data" PORT="$port" "$stage/usr/bin/stemforge" serve 2>"$tmp/log") &
server=$!
tries=0 url=
while [ -z "$url" ] && [ $((tries += 1)) -lt 100 ]; do
    sleep 0.1
    url=$(sed -n 's/.*the page is at \(http:[^ ]*\)$/\1/p' "$tmp/log")
done
does "the page where the log says" python3 -c "
import sys, urllib.request
assert b'<html' in urllib.request.urlopen(sys.argv[1], timeout=10).read().lower()" "$url"
tries=0
until grep -q "model: stemforge-mini" "$tmp/log" || [ $((tries += 1)) -gt 300 ]; do sleep 0.1; done
if grep -q "loaded successfully (model: stemforge-mini)" "$tmp/log"; then ok; else no "serve without a model: $(tail -n 3 "$tmp/log")"; fi
kill $server
wait $server
does "uninstall" make -s uninstall DESTDIR="$stage" PREFIX=/usr
left=$(find "$stage" -type f)
if [ -z "$left" ]; then ok; else no "uninstall left: $left"; fi

# --- completion, typed into each shell; and what readers of manual pages find wrong
does "pages" make -s pages
does "pages and completion name the options of --help" python3 tests/cli/pages.py build/stemforge build/pages
does "completion" python3 tests/cli/completion.py build/pages
for p in build/pages/*.[15]; do
    # "missing date": a page has none, so that the same source gives the same bytes.
    if mandoc -Tlint -W warning "$p" | grep -v 'missing date' >"$tmp/out"; then no "$p: $(head -n 3 "$tmp/out")"; else ok; fi
done

# --- the library, by pkg-config
does "examples" make -s examples
does "one stem" build/examples/one_stem $model "$tmp/drums.wav"
does "is a WAV of two seconds" build/stemforge analyse "$tmp/drums.wav" --json
if grep -q '"seconds":2.0' "$tmp/out"; then ok; else no "one_stem: $(cat "$tmp/out")"; fi
flags=$(PKG_CONFIG_PATH=build/prefix/lib/pkgconfig pkg-config --cflags --libs stemforge)
# shellcheck disable=SC2086
does "link with it" cc -std=c17 -Wall -Werror tests/cli/library.c $flags -o "$tmp/library"
does "use it" "$tmp/library" $model

# --- the caller's flags, the caller's compiler for tools, a folder elsewhere, a source that nobody may write
git ls-files -z -co --exclude-standard | grep -zv '^tests/\|^docs/img' | xargs -0 tar -cf - | (mkdir "$tmp/source" && tar -xf - -C "$tmp/source")
cat >"$tmp/hostcc" <<S
#!/bin/sh
echo x >>"$tmp/hostcc.used"
exec cc "\$@"
S
chmod +x "$tmp/hostcc"
echo "/* from CPPFLAGS */" >"$tmp/seen.h"
chmod -R a-w "$tmp/source"
before=$(find "$tmp/source" | sort | sha256sum)
does "out of the source" make -s -j"$(nproc)" -C "$tmp/source" OUT="$tmp/elsewhere" HOSTCC="$tmp/hostcc" CC="${CC:-cc}" \
    CFLAGS="-O1 -DFROM_CFLAGS=1" CPPFLAGS="-include $tmp/seen.h" LDFLAGS="-Wl,--build-id=0x5354454d" "$tmp/elsewhere/stemforge"
if [ "$(find "$tmp/source" | sort | sha256sum)" = "$before" ]; then ok; else no "the build wrote into the source"; fi
there "$tmp/hostcc.used"
if readelf -n "$tmp/elsewhere/stemforge" | grep -qi 5354454d; then ok; else no "LDFLAGS were not used"; fi
does "makes a stem" "$tmp/elsewhere/stemforge" generate --model $model --stem drums --duration 1 --seed 5 --quiet --out "$tmp/one"
does "and the same elsewhere" build/stemforge generate --model $model --stem drums --duration 1 --seed 5 --quiet --out "$tmp/two"
does "with equal bytes" cmp "$tmp/one/drums.wav" "$tmp/two/drums.wav"
chmod -R u+w "$tmp/source"

# --- a library that is missing is named with its package
mkdir "$tmp/bin"
printf '#!/bin/sh\ncase "$*" in *jansson*) exit 1 ;; esac\nexec cc "$@"\n' >"$tmp/bin/nojansson"
chmod +x "$tmp/bin/nojansson"
if tools/libraries.sh "$tmp/bin/nojansson" 2>"$tmp/err"; then no "a missing library was not noticed"
elif grep -q "apt-get install libjansson-dev" "$tmp/err"; then ok
else no "a missing library: $(cat "$tmp/err")"; fi

# --- a release: of a clean tree, with its commit in it
git clone -q "$root" "$tmp/clone"
mkdir "$tmp/release"
does "a release" sh -c "cd '$tmp/clone' && VERSION=9.8.7 tools/dist.sh '$tmp/release'"
does "has the sums of its files" sh -c "cd '$tmp/release' && sha256sum -c SHA256SUMS && grep -q stemforge-9.8.7.tar.gz SHA256SUMS"
tar -C "$tmp" -xzf "$tmp/release/stemforge-9.8.7.tar.gz"
does "knows its commit without git" make -s -C "$tmp/stemforge-9.8.7" OUT="$tmp/knows" "$tmp/knows/gen/commit.h"
if grep -q "\"$(git rev-parse --short=10 HEAD)\"" "$tmp/knows/gen/commit.h"; then ok; else no "commit of a release: $(cat "$tmp/knows/gen/commit.h")"; fi
echo >>"$tmp/clone/README.md"
if (cd "$tmp/clone" && VERSION=9.8.7 tools/dist.sh "$tmp/release") 2>"$tmp/err"; then no "a changed tree was released"
elif grep -q "expected a clean tree" "$tmp/err"; then ok
else no "a changed tree: $(cat "$tmp/err")"; fi

# --- without root and without apt: what is needed is listed, nothing else happens
mkdir "$tmp/poor" "$tmp/other"
printf '#!/bin/sh\necho 1000\n' >"$tmp/poor/id"
printf '#!/bin/sh\nexit 1\n' | tee "$tmp/poor/sudo" "$tmp/poor/dpkg-query" "$tmp/poor/apt-get" >/dev/null
chmod +x "$tmp/poor/"*
if PATH="$tmp/poor:$PATH" tools/install.sh build </dev/null >"$tmp/out" 2>&1; then no "install.sh without root succeeded"
elif grep -q "apt-get install build-essential .*libjansson-dev" "$tmp/out"; then ok
else no "install.sh without root: $(cat "$tmp/out")"; fi
for tool in sh dirname cat; do ln -s "$(command -v $tool)" "$tmp/other/$tool"; done
if PATH="$tmp/other" tools/install.sh build >"$tmp/out" 2>&1; then no "install.sh without apt succeeded"
elif grep -q "Fedora .*jansson-devel" "$tmp/out"; then ok
else no "install.sh without apt: $(cat "$tmp/out")"; fi

# --- AArch64: the whole program where its libraries are installed, else what is missing
if command -v aarch64-linux-gnu-gcc >/dev/null; then
    if tools/libraries.sh aarch64-linux-gnu-gcc 2>"$tmp/err"; then
        does "cross build" make -s -j"$(nproc)" CC=aarch64-linux-gnu-gcc OUT="$tmp/arm64" "$tmp/arm64/stemforge"
        does "runs" qemu-aarch64 -L / "$tmp/arm64/stemforge" generate --model $model --stem drums --duration 1 --seed 5 --quiet \
            --out "$tmp/three"
        does "with equal bytes" cmp "$tmp/three/drums.wav" "$tmp/two/drums.wav"
        does "a stem to hear" build/stemforge generate --model models/stemforge-mini --stem piano --bpm 113 --chords "Am F" --bars 4 \
            --seed 5 --quiet --out "$tmp/heard"
        build/stemforge analyse "$tmp/heard/piano.wav" --json >"$tmp/heard/here"
        qemu-aarch64 -L / "$tmp/arm64/stemforge" analyse "$tmp/heard/piano.wav" --json >"$tmp/heard/there"
        does "hears something" grep -q '"chords":\["[A-G]' "$tmp/heard/here"
        does "and the same on AArch64" cmp "$tmp/heard/here" "$tmp/heard/there"
        sound="generate --model tests/parity/sa-small/model --stem drums --duration 0.3 --steps 2 --seed 5 --quiet --out"
        # shellcheck disable=SC2086 # words of a command
        does "runs Stable Audio" qemu-aarch64 -L / "$tmp/arm64/stemforge" $sound "$tmp/four"
        # shellcheck disable=SC2086
        does "and here" build/stemforge $sound "$tmp/five"
        does "with equal bytes of Stable Audio" cmp "$tmp/four/drums.wav" "$tmp/five/drums.wav"
    elif grep -q "libjansson-dev:arm64" "$tmp/err" && grep -q "dpkg --add-architecture arm64" "$tmp/err"; then ok
    else no "cross build: $(cat "$tmp/err")"; fi
fi

echo "$good passed, $bad failed"
[ $bad = 0 ]
