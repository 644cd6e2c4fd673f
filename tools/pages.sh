#!/bin/sh
# pages.sh OUT PROGRAM... - writes what the program says of itself as files: manual pages (stemforge.1, one a
# command, stemforge.env.5), completion for bash, zsh and fish, and stemforge.env with every setting commented out.
# PROGRAM may be an emulator, its flags and the program.
set -eu
out=$1
shift
mkdir -p "$out"
"$@" --help=man >"$out/stemforge.1"
for c in $(sed -n 's/^    {"\([a-z]*\)", [a-z]*_main,.*/\1/p' "$(dirname "$0")/../src/app/commands.c"); do
    "$@" "$c" --help=man >"$out/stemforge-$c.1"
done
"$@" serve --settings=man >"$out/stemforge.env.5"
"$@" serve --settings=env >"$out/stemforge.env"
for shell in bash zsh fish; do "$@" --help=$shell >"$out/stemforge.$shell"; done
