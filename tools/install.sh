#!/bin/sh
# install.sh build|test - installs the Debian packages that are missing, by name. Needs root or sudo only
# when something is missing.
set -eu
build="build-essential libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libssl-dev libsqlite3-dev
libsndfile1-dev libpng-dev"
test="libcriterion-dev libsoxr-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user clang-format
pkg-config nodejs npm python3 git"
case "${1:-build}" in
build) want=$build ;;
test) want="$build $test" ;;
*) echo "usage: tools/install.sh build|test" >&2; exit 2 ;;
esac
missing=
for p in $want; do
    # A tool that came another way (Node.js from elsewhere) is as good as the package.
    case $p in nodejs) command -v node >/dev/null && continue ;; npm | git | python3 | clang-format) command -v "$p" >/dev/null && continue ;; esac
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
