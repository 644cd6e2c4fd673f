#!/bin/sh
# mutants.sh - plants one fault after another into the kernels; a test must see each of them.
#
#   tests/gpu/mutants.sh build       the folder with tests/run_gpu and tests/gpu/*.o; N=5 only the fifth
set -u
cd "$(dirname "$0")/../.."
out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seen=0 missed=0 number=0
plant() { # file from to
    cp -r src "$work/src"
    case $2 in
    SYNC*) awk -v n="${2#SYNC }" '/block_sync\(\);/ && ++k == n { sub(/block_sync\(\);/, "") } { print }' \
        "src/gpu/$1" >"$work/src/gpu/$1" ;;
    *) FROM=$2 TO=$3 awk '!done && (i = index($0, ENVIRON["FROM"])) {
            $0 = substr($0, 1, i - 1) ENVIRON["TO"] substr($0, i + length(ENVIRON["FROM"])); done = 1
        } { print }' "src/gpu/$1" >"$work/src/gpu/$1" ;;
    esac
    ! cmp -s "src/gpu/$1" "$work/src/gpu/$1"
}
caught() { # test
    ${CXX:-g++} -std=c++17 -O1 -fPIC -ffp-contract=off -fno-strict-aliasing -fvisibility=hidden -w -I"$work/src" \
        -Itests/gpu -x c++ -c "$work/src/gpu/kern.cu" -o "$work/kern.o" &&
        ${CXX:-g++} -shared -o "$work/libcuda.so.1" "$out/tests/gpu/emu.o" "$out/tests/gpu/fake_cuda.o" "$work/kern.o" ||
        return 1
    LD_LIBRARY_PATH=$work timeout 600 "$out/tests/run_gpu" "$1" >"$work/log" 2>&1
    rc=$?
    [ $rc = 0 ] || [ $rc = 124 ] && return 1 # a busy machine's time-out proves nothing
    return 0
}
while IFS='|' read -r file from to test; do
    case $file in '#'* | '') continue ;; esac
    number=$((number + 1))
    [ -z "${N:-}" ] || [ "$N" = $number ] || continue
    case $from in SYNC*) test=$to to= ;; esac
    rm -rf "$work/src"
    if ! plant "$file" "$from" "$to"; then
        echo "$number: $file has no '$from' any more"
        missed=$((missed + 1))
    elif caught "$test"; then
        seen=$((seen + 1))
    else
        echo "$number: $file, $from -> $to: not seen by $test"
        missed=$((missed + 1))
    fi
done <tests/gpu/mutants.txt
echo "$seen planted faults seen, $missed missed"
[ $missed = 0 ]
