#!/bin/sh
# deb.sh - the Debian packages on a Debian that has nothing else: installed, used, upgraded, removed and purged. The
# system is made by mmdebstrap and entered by chroot; both need root. systemd does not run there, so the service is started
# as its unit says: user, environment, command.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || exec sudo -E "$0" "$@"
if [ -z "${IN_NAMESPACE:-}" ]; then
    [ -n "${STEMFORGE_BUILT:-}" ] || make -s -j"$(nproc)" all || exit 1
    make -s deb >/dev/null || exit 1
    base=$PWD/build/debian.tar
    if [ ! -s "$base" ]; then # kept for the next time
        # What the end of the name says is what is made.
        mmdebstrap -q --variant=minbase --mode=root --dpkgopt=force-unsafe-io bookworm "${base%.tar}.part.tar" || exit 1
        mv "${base%.tar}.part.tar" "$base"
    fi
    IN_NAMESPACE=$base exec unshare --mount --propagation private "$0"
fi
tmp=$(mktemp -d)
root=$tmp/root
mkdir "$root"
server=
leave() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    umount -R "$root/proc" "$root/dev" 2>/dev/null
    rm -rf "$tmp"
}
trap leave EXIT
bad=0 good=0
no() { bad=$((bad + 1)); echo "FAIL $*"; }
is() { # name, expected, found
    if [ "$2" = "$3" ]; then good=$((good + 1)); else no "$1: expected $2, found $3"; fi
}
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }
does() { # name, command there
    name=$1
    shift
    if in_root "$@" >"$tmp/out" 2>&1; then good=$((good + 1)); else no "$name: $(tail -n 4 "$tmp/out")"; fi
}
mode() { stat -c '%a %U' "$root$1" 2>&1; } # names of users are the host's
owner() { [ "$(stat -c %u "$root$1")" = "$(in_root id -u stemforge)" ] && echo stemforge; }

tar -C "$root" -xf "$IN_NAMESPACE" --exclude='./dev/*'
mount --bind /dev "$root/dev" && mount -t proc none "$root/proc" || exit 1
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp build/dist/stemforge_*.deb "$root/stemforge.deb"
cp build/dist/libstemforge-dev_*.deb "$root/libstemforge-dev.deb"
files() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log \) -prune -o -print | sort); }

# --- installed, with what it depends on
does "lists of packages" apt-get update -qq
does "install" apt-get install -qq -y --no-install-recommends /stemforge.deb
is "settings" "600 root" "$(mode /etc/stemforge/stemforge.env)"
is "data folder" 700 "$(stat -c %a "$root/var/lib/stemforge")"
is "owner of the data" stemforge "$(owner /var/lib/stemforge)"
does "a system user" sh -c 'test "$(id -u stemforge)" -lt 1000 && getent passwd stemforge | grep -q nologin$'
does "the library's package can be installed" apt-get install -s -qq /libstemforge-dev.deb
does "version" stemforge --version
is "says the package's version" "stemforge $(in_root dpkg-query -W -f '${Version}' stemforge)" "$(head -n 1 "$tmp/out")"
does "a stem by the shipped model" stemforge generate --stem drums --duration 1 --seed 1 --quiet --out /tmp/one
is "is a WAV" RIFF "$(head -c 4 "$root/tmp/one/drums.wav")"
for page in stemforge.1 stemforge-generate.1 stemforge-serve.1 stemforge.env.5; do
    is "page $page" yes "$([ -s "$root/usr/share/man/man${page##*.}/$page.gz" ] && echo yes)"
done

# --- the service, as the unit starts it
unit=$root/usr/lib/systemd/system/stemforge.service
user=$(sed -n 's/^User=//p' "$unit")
command=$(sed -n 's/^ExecStart=//p' "$unit")
settings=$(sed -n 's/^Environment=//p' "$unit")
port=$(python3 -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
# shellcheck disable=SC2086
chroot --userspec="$user:$user" "$root" /usr/bin/env -i PATH=/usr/bin:/bin $settings PORT="$port" $command 2>"$tmp/log" &
server=$!
ask() { python3 -c "
import sys, time, urllib.request
for _ in range(300):
    try:
        text = urllib.request.urlopen(urllib.request.Request('http://127.0.0.1:$port' + sys.argv[1], data=sys.argv[2].encode() or None,
            headers={'Content-Type': 'application/json'}), timeout=10).read().decode()
        if sys.argv[3] in text: print('yes'); break
    except OSError: pass
    time.sleep(0.2)" "$1" "$2" "$3"; }
is "alive" yes "$(ask /livez '' '')"
is "ready" yes "$(ask /readyz '' '')"
is "takes a job" yes "$(ask /generate '{"generation_request_id":"deb","audio_file_id":"a","target_stems":["drums"],"parameters":{"duration_seconds":1}}' deb)"
is "ends it" yes "$(ask /jobs/deb '' '"status":"completed"')"
is "its stem belongs to the user" stemforge "$(owner /var/lib/stemforge/files/a/generated/deb/drums.wav)"
kill "$server" && wait "$server"
is "ends on SIGTERM" 0 $?
server=

# --- the same package again keeps settings and data; removed, both stay; purged, nothing does
echo 'LOG_LEVEL=debug' >>"$root/etc/stemforge/stemforge.env"
does "upgrade" dpkg -i /stemforge.deb
is "settings stay" LOG_LEVEL=debug "$(tail -n 1 "$root/etc/stemforge/stemforge.env")"
does "remove" dpkg -r stemforge
is "the program went" gone "$([ -e "$root/usr/bin/stemforge" ] || echo gone)"
is "settings are there" LOG_LEVEL=debug "$(tail -n 1 "$root/etc/stemforge/stemforge.env")"
is "data is there" yes "$([ -s "$root/var/lib/stemforge/jobs.db" ] && echo yes)"
does "purge" dpkg -P stemforge
rm -rf "$root/stemforge.deb" "$root/libstemforge-dev.deb" "$root/tmp/one"
is "nothing is left" "" "$(files | grep -i stemforge)"
is "nor the user" "" "$(in_root getent passwd stemforge)"
echo "$good passed, $bad failed"
[ "$bad" = 0 ]
