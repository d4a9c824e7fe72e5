#!/bin/sh
# Builds target/pgo/waypost, optimised by a profile of the answers that dns.py asks for, and measures it beside the ordinary
# release build. Needs llvm-profdata of the LLVM that rustc has (`rustc -vV`; Debian: llvm-22) and what dns.py needs.
set -eu
cd "$(dirname "$0")/../.."
target=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=${LLVM_PROFDATA:-llvm-profdata-$llvm}
command -v "$profdata" >/dev/null || { echo "no $profdata: install LLVM $llvm" >&2; exit 1; }
profiles=$PWD/target/pgo/profiles
rm -rf "$profiles"

build() { RUSTFLAGS=$1 cargo build --release --target "$target" --target-dir target/pgo; }

build "-Cprofile-generate=$profiles"
benches/peers/dns.py --waypost "target/pgo/$target/release/waypost" --servers waypost --rounds 1 --seconds 5 \
    --scenario real,hot,many,tcp
"$profdata" merge -o "$profiles/merged.profdata" "$profiles"
build "-Cprofile-use=$profiles/merged.profdata"
cp "target/pgo/$target/release/waypost" target/pgo/waypost

[ "${1:-}" = build ] && exit
cargo build --release
for binary in target/release/waypost target/pgo/waypost; do
    benches/peers/dns.py --waypost "$binary" --servers gdnsd,limit-udp --rounds 5 --seconds 2 --scenario real,hot,many
done
