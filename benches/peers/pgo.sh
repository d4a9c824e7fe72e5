#!/bin/sh
# Builds target/pgo/waypost, optimised by a profile of the answers that dns.py asks for, and measures it beside the ordinary
# release build. Only Waypost's own code is profiled, which holds all of an answer; what it depends on is built once. Needs
# llvm-profdata of the LLVM that rustc has (`rustc -vV`; Debian: llvm-22) and what dns.py needs.
#
#     sh benches/peers/pgo.sh          builds it and measures
#     sh benches/peers/pgo.sh build    builds it
set -eu
cd "$(dirname "$0")/../.."
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
profdata=${LLVM_PROFDATA:-llvm-profdata-$llvm}
command -v "$profdata" >/dev/null || { echo "no $profdata: install LLVM $llvm" >&2; exit 1; }
made=$PWD/target/pgo
profiles=$made/profiles
rm -rf "$profiles"
mkdir -p "$profiles"

# A compiler that adds flags for the crates of this workspace, and the binary that it makes.
build() {
    printf '#!/bin/sh\nexec "$@" %s\n' "$2" > "$made/rustc-$1"
    chmod +x "$made/rustc-$1"
    RUSTC_WORKSPACE_WRAPPER=$made/rustc-$1 cargo build --release --bin waypost
    cp target/release/waypost "$made/waypost-$1"
}

build profiled "-Cprofile-generate=$profiles"
benches/peers/dns.py --waypost "$made/waypost-profiled" --servers waypost --rounds 1 --seconds 3 --retries 0 \
    --scenario real,hot,many,big,tcp
"$profdata" merge -o "$made/merged.profdata" "$profiles"
build used "-Cprofile-use=$made/merged.profdata"
mv "$made/waypost-used" "$made/waypost"

[ "${1:-}" = build ] && exit
cargo build --release --bin waypost
for round in 1 2; do
    for binary in target/release/waypost target/pgo/waypost; do
        benches/peers/dns.py --waypost "$binary" --servers gdnsd,limit-udp --rounds 2 --seconds 2 --scenario real,hot,many
    done
done
