#!/bin/sh
# install.sh build|test - installs the Debian packages that are missing, and says which. Needs root or sudo
# only when something is missing; without them, or on another system, it lists what is needed and ends.
set -eu
build="build-essential libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libssl-dev libsqlite3-dev
libsndfile1-dev libpng-dev"
test="libcriterion-dev libsoxr-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user clang-format
pkg-config nodejs npm python3 python3-venv git mono-mcs"
case "${1:-build}" in
build) want=$build ;;
test) want="$build $test" ;;
*) echo "usage: tools/install.sh build|test" >&2; exit 2 ;;
esac

# What others call the packages that building needs.
elsewhere() {
    cat >&2 <<'LIST'
This system has no apt. Building needs a C17 compiler, make and these libraries with their headers:
  Fedora   gcc make libmicrohttpd-devel libcurl-devel jansson-devel openssl-devel sqlite-devel libsndfile-devel libpng-devel
  Arch     base-devel libmicrohttpd curl jansson openssl sqlite libsndfile libpng
  Alpine   build-base linux-headers libmicrohttpd-dev curl-dev jansson-dev openssl-dev sqlite-dev libsndfile-dev libpng-dev
(tested on Debian 12 only). Then: make; it names what is still missing. ./test needs besides: Criterion, libsoxr,
gcc and libc for AArch64, qemu-user, clang-format, pkg-config, Node.js with npm, Python 3 with venv, git and mcs (Mono).
LIST
    exit 1
}
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    [ "${1:-build}" = build ] && "$(dirname "$0")/libraries.sh" "${CC:-cc}" 2>/dev/null && exit 0
    elsewhere
fi

missing=
for p in $want; do
    # A tool that came another way (Node.js from elsewhere) is as good as the package.
    case $p in
    nodejs) command -v node >/dev/null && continue ;;
    mono-mcs) command -v mcs >/dev/null && continue ;;
    python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
    npm | git | python3 | clang-format | pkg-config) command -v "$p" >/dev/null && continue ;;
    esac
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    # sudo may ask for a password where somebody can answer.
    if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
        echo "packages are missing, and installing them needs root. As root:" >&2
        echo "  apt-get install$missing" >&2
        exit 1
    fi
fi
echo "installing these Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
