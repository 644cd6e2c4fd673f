#!/bin/sh
# deb.sh DIR - makes the Debian packages stemforge and libstemforge-dev in DIR from what `make install` puts down.
# `make deb` calls it, with VERSION, ARCH, STRIP and OUT. The same source and tools give the same bytes. Needs dpkg-dev.
set -eu
dir=$1
# shellcheck source=/dev/null
command -v dpkg-shlibdeps >/dev/null || { echo "deb.sh: expected dpkg-shlibdeps, found none: apt-get install dpkg-dev" >&2; exit 1; }
case $ARCH in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(dpkg --print-architecture) ;; esac
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Makefile)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
all=$work/stemforge dev=$work/libstemforge-dev
mkdir -p "$dir" "$dev/usr/lib"
make -s install DESTDIR="$all" PREFIX=/usr OUT="$OUT" >/dev/null
mv "$all/usr/include" "$dev/usr/include"
mv "$all/usr/lib/libstemforge.a" "$all/usr/lib/pkgconfig" "$dev/usr/lib/"
"$STRIP" "$all/usr/bin/stemforge"
"$STRIP" --strip-debug "$dev/usr/lib/libstemforge.a"
gzip -9n "$all"/usr/share/man/man?/*

# Settings: the list that the program prints, every one commented out. It holds secrets once it is filled in.
install -D -m 600 "$OUT/pages/stemforge.env" "$all/etc/stemforge/stemforge.env"
mkdir -p "$all/DEBIAN" "$dev/DEBIAN" "$work/debian" "$dev/usr/share/doc/libstemforge-dev"
echo /etc/stemforge/stemforge.env >"$all/DEBIAN/conffiles"
install -m 755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$all/DEBIAN"
mv "$all/usr/share/doc/stemforge/LICENSE" "$all/usr/share/doc/stemforge/copyright"
cp "$all/usr/share/doc/stemforge/copyright" "$dev/usr/share/doc/libstemforge-dev/copyright"

# What the program is linked with, by the packages of this machine.
echo 'Source: stemforge' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "$all/usr/bin/stemforge" 2>/dev/null | sed 's/^shlibs:Depends=//')
[ -n "$depends" ] || { echo "deb.sh: dpkg-shlibdeps found no package of the program's libraries" >&2; exit 1; }
pack() { # folder, control
    sed "s|@VERSION@|$VERSION|; s|@ARCH@|$arch|; s|@DEPENDS@|$depends|; s|@SIZE@|$(du -sk --exclude=DEBIAN "$1" | cut -f1)|" \
        "packaging/debian/$2" >"$1/DEBIAN/control"
    (cd "$1" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) >"$1/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zxz -z1 --build "$1" "$dir/$(basename "$1")_${VERSION}_$arch.deb" >/dev/null
    echo "$dir/$(basename "$1")_${VERSION}_$arch.deb"
}
pack "$all" control.in
pack "$dev" control-dev.in
