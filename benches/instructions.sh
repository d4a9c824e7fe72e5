#!/bin/sh
# Prints the instructions of each operation of benches/instructions.rs, counted by callgrind: they are the same on a busy
# machine. Needs valgrind.
#
#     sh benches/instructions.sh                  all of them, about ten minutes: large zones are read under callgrind, too
#     sh benches/instructions.sh pools/1 pick     these
set -eu
cd "$(dirname "$0")/.."
binary=$(cargo bench --no-run --bench instructions 2>&1 | sed -n 's/.*Executable.*(\(.*\)).*/\1/p')
[ -n "$binary" ] || { echo "the bench can't be built: cargo bench --no-run --bench instructions" >&2; exit 1; }
times=1000
echo "| operation | instructions |"
echo "|---|---|"
for operation in ${*:-$("$binary")}; do
    counted=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect='*measured*' "$binary" "$operation" $times 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
    echo "| $operation | $((counted / times)) |"
done
