#!/bin/sh
# dist.sh DIR - a release in DIR: the source of this commit as a tarball, the packages that are there, an image where a
# Docker engine runs, and SHA256SUMS of all. `make dist` calls it with VERSION. A tree that was changed is refused.
set -eu
dir=$1
[ -z "$(git status --porcelain)" ] || { echo "dist: expected a clean tree, found changes: commit them first (git status)" >&2; exit 1; }
name=stemforge-$VERSION
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name"
git describe --always --abbrev=10 --exclude='*' >"$work/$name/COMMIT"
git archive --format=tar --prefix="$name/" --add-file="$work/$name/COMMIT" HEAD | gzip -9n >"$dir/$name.tar.gz"
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    docker build -q -t "stemforge:$VERSION" . >/dev/null
    docker save "stemforge:$VERSION" | gzip -9n >"$dir/$name-image.tar.gz"
else
    rm -f "$dir/$name-image.tar.gz"
    echo "dist: no Docker engine runs here, so the release has no image; the source has the Dockerfile" >&2
fi
cd "$dir"
find . -maxdepth 1 -type f \( -name "$name*.tar.gz" -o -name "*_${VERSION}_*.deb" \) -printf '%P\n' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
cat SHA256SUMS
