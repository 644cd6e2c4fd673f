#!/bin/sh
# install.sh build|gpu|test - installs the Debian packages that are missing, and says which. Needs root or sudo
# only when something is missing; without them, or on another system, it lists what is needed and ends.
#   build   what make needs      gpu   and the compilers of the GPU's kernels      test   and what ./test needs
# NVIDIA's compiler comes from PyPI, with its parts at one version, into build/cuda (280 MB). Its PTX may not
# be newer than users' drivers: 13.0 asks for driver 580, and clang's image serves those from 470 on.
set -eu
build="build-essential libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libssl-dev libsqlite3-dev
libpq-dev libsndfile1-dev libpng-dev"
test="libcriterion-dev libsoxr-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user clang-format
pkg-config nodejs npm chromium zsh fish mandoc mmdebstrap python3 python3-venv git mono-mcs postgresql"
gpu="clang-19 python3 python3-venv"
nvcc="nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96"
case "${1:-build}" in
build) want=$build ;;
gpu) want="$build $gpu" ;;
test) want="$build $gpu $test" ;;
*) echo "usage: tools/install.sh build|gpu|test" >&2; exit 2 ;;
esac

# NVIDIA's compiler, for x86-64 and AArch64. Without it the build goes on with what it has.
install_nvcc() {
    cuda=$(dirname "$0")/../build/cuda
    [ ! -e "$cuda/complete" ] || return 0
    echo "installing NVIDIA's compiler from PyPI into build/cuda"
    rm -rf "$cuda"
    # shellcheck disable=SC2086
    if python3 -m venv "$cuda" && "$cuda/bin/pip" install -q --disable-pip-version-check $nvcc; then
        touch "$cuda/complete"
    else
        echo "PyPI gave no $nvcc: the program will have no machine code for GPUs" >&2
    fi
}

# What others call the packages that building needs.
elsewhere() {
    cat >&2 <<'LIST'
This system has no apt. Building needs a C17 compiler, make and these libraries with their headers:
  Fedora   gcc make libmicrohttpd-devel libcurl-devel jansson-devel openssl-devel sqlite-devel libpq-devel libsndfile-devel libpng-devel
  Arch     base-devel libmicrohttpd curl jansson openssl sqlite postgresql-libs libsndfile libpng
  Alpine   build-base linux-headers libmicrohttpd-dev curl-dev jansson-dev openssl-dev sqlite-dev libpq-dev libsndfile-dev libpng-dev
(tested on Debian 12 only). Then: make; it names what is still missing. ./test needs besides: Criterion, libsoxr,
gcc and libc for AArch64, qemu-user, clang-format, pkg-config, Node.js with npm, Chromium, Python 3 with venv, git, mcs (Mono), PostgreSQL, zsh, fish, mandoc and mmdebstrap.
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
    chromium) [ -x /usr/bin/chromium ] && continue ;;
    mono-mcs) command -v mcs >/dev/null && continue ;;
    python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
    npm | git | python3 | clang-format | pkg-config) command -v "$p" >/dev/null && continue ;;
    esac
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
finish() {
    [ "${1:-build}" = build ] || install_nvcc
    exit 0
}
[ -n "$missing" ] || finish "$@"

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
finish "$@"
