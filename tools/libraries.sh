#!/bin/sh
# libraries.sh CC [FLAG...] - whether CC finds the libraries that stemforge is linked with. One that is
# missing is named with its Debian package, and all of them with one command.
set -u
triple=$("$@" -dumpmachine) || { echo "libraries.sh: expected a C compiler, found '$*'" >&2; exit 1; }
suffix= foreign=
case $triple in
"$(uname -m)"-*) ;;
aarch64-*) suffix=:arm64 foreign=arm64 ;;
x86_64-*) suffix=:amd64 foreign=amd64 ;;
*) suffix=":${triple%%-*}" foreign=${triple%%-*} ;;
esac

# finds HEADER LIBRARY...: whether a program with it links
finds() {
    header=$1 libs=$2
    shift 2
    # shellcheck disable=SC2086
    printf '#include <stdio.h>\n#include <%s>\nint main(void) { return 0; }\n' "$header" |
        "$@" -x c - -o /dev/null $libs 2>/dev/null
}

missing=
while read -r header lib package; do
    finds "$header" "-l$lib" "$@" || { echo "missing: $header or lib$lib for $triple (package $package$suffix)" >&2
        missing="$missing $package$suffix"; }
done <<'END'
microhttpd.h microhttpd libmicrohttpd-dev
curl/curl.h curl libcurl4-openssl-dev
jansson.h jansson libjansson-dev
openssl/evp.h crypto libssl-dev
sqlite3.h sqlite3 libsqlite3-dev
libpq-fe.h pq libpq-dev
sndfile.h sndfile libsndfile1-dev
png.h png libpng-dev
END
[ -n "$missing" ] || exit 0
[ -z "$foreign" ] || echo "first: dpkg --add-architecture $foreign && apt-get update" >&2
echo "install them as root: apt-get install$missing" >&2
[ -n "$foreign" ] || echo "or run ./run setup, which does that" >&2
exit 1
