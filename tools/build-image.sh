#!/bin/sh
# build-image.sh [DIR] - builds the image of the Dockerfile without a Docker engine, runs what it made,
# and checks it: buildah in chroot isolation, on a base made by debootstrap. Needs root, and the
# packages buildah and debootstrap; DIR (default out/image) takes about 1 GiB.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-out/image}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
store="--root $dir/storage --runroot $dir/run --storage-driver vfs"
bud() { # shellcheck disable=SC2086
    cmd=$1
    shift
    buildah $store "$cmd" "$@"
}

if [ ! -e "$dir/base.tar" ]; then
    debootstrap --variant=minbase --include=ca-certificates bookworm "$dir/base" "$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)"
    rm -rf "$dir/base/var/cache/apt/archives" "$dir/base/var/lib/apt/lists"
    tar -C "$dir/base" -cf "$dir/base.tar" .
    rm -rf "$dir/base"
fi
base=$(bud from scratch)
bud add -q "$base" "$dir/base.tar" /
bud commit -q "$base" localhost/debian-base >/dev/null
bud rm "$base" >/dev/null
bud bud -q --format docker --isolation chroot --network host --build-arg BASE=localhost/debian-base -t stemforge .

# Run it as the image says: its user, its environment, its command, its root not writable.
c=$(bud from stemforge)
root=$(bud mount "$c")
trap 'kill "$pid" 2>/dev/null || :; bud umount "$c" >/dev/null; bud rm "$c" >/dev/null' EXIT
pid=
echo "image: $(du -sm "$root" | cut -f1) MiB, user $(bud inspect --format '{{.OCIv1.Config.User}}' "$c"), no compiler: $(
    [ ! -e "$root/usr/bin/cc" ] && echo yes)"
port=18099
unshare -m sh -c "mount --bind '$root' '$root' && mount -o remount,bind,ro '$root' &&
    mount -t tmpfs -o uid=10001,gid=10001,mode=700 none '$root/data' && mount -t tmpfs none '$root/tmp' &&
    mount --bind /proc '$root/proc' && mount --bind /dev '$root/dev' &&
    exec chroot --userspec 10001:10001 '$root' /usr/bin/env -i DATA_DIR=/data LISTEN_ADDR=127.0.0.1 PORT=$port \
        MODEL=/usr/local/share/stemforge/models/stemforge-mini /usr/local/bin/stemforge serve" &
pid=$!
i=0
until curl -fs "http://127.0.0.1:$port/health"; do
    i=$((i + 1))
    [ $i -lt 100 ] || { echo "not healthy after 20 s"; exit 1; }
    sleep 0.2
done
echo
chroot "$root" /usr/bin/env -i PORT=$port /usr/local/bin/stemforge health
curl -fs -X POST -H 'Content-Type: application/json' "http://127.0.0.1:$port/generate" \
    -d '{"generation_request_id":"image","audio_file_id":"a","target_stems":["drums"],"parameters":{"duration_seconds":1}}'
echo
until curl -fs "http://127.0.0.1:$port/jobs/image" | grep -q '"status":"completed"'; do
    i=$((i + 1))
    [ $i -lt 300 ] || { echo "the job did not end"; exit 1; }
    sleep 0.2
done
curl -fs "http://127.0.0.1:$port/files/a/generated/image/drums.wav" | head -c 4 | grep -q RIFF
kill -TERM $pid
wait $pid
pid=
trap - EXIT
bud umount "$c" >/dev/null
bud rm "$c" >/dev/null
echo "the image was built, ran as uid 10001 on a read-only root, made a stem and drained on SIGTERM"
