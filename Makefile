# What a developer and a newcomer call. `make help` lists it.

CARGO ?= cargo

STATIC = x86_64-unknown-linux-musl

.PHONY: help run build static test check fmt soak bench figures peers fuzz

help:
	@sed -n 's/^## //p' Makefile

## make run      build and start the demo: the server with the sample configuration, and two tiny sites beside it
run:
	$(CARGO) build
	target/debug/waypost demo

## make build    the shipped binary, target/release/waypost
build:
	$(CARGO) build --release

## make static   one binary without libraries, for hosts of any age: target/x86_64-unknown-linux-musl/release/waypost
##               (a C compiler for musl: on Debian the package musl-tools; and rustup target add x86_64-unknown-linux-musl)
static:
	$(CARGO) build --release --target $(STATIC)
	printf '127.0.0.1 8080 127.0.0.1 8081\n' >target/static-check.conf
	target/$(STATIC)/release/waypost forward --config target/static-check.conf --check

## make test     install what the tests need (Debian packages, as root or with sudo) and run them all
test:
	sh tests/setup.sh
	$(CARGO) test --all-targets --no-fail-fast
	$(CARGO) test --doc

## make check    what must hold before a commit: format, clippy, docs, tests
check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps
	$(MAKE) test

fmt:
	$(CARGO) fmt

## make soak     the migration night again and again, for SOAK_MINUTES (60)
soak:
	sh tests/soak.sh $${SOAK_MINUTES:-60}

## make bench    micro benchmarks of the answer path
bench:
	$(CARGO) bench

## make peers    the server beside gdnsd, NSD, Knot, BIND and PowerDNS (benches/peers/README.md), about 25 minutes
peers: build
	benches/peers/dns.py
	benches/peers/disturb.py

## make figures  the figures of docs/steering.md, at full size; WAYPOST_QUIET=1 judges the wall clock of the probes, too
figures:
	$(CARGO) test --release --test figures -- --nocapture --test-threads 1
	$(CARGO) test --release --test probe_load -- --ignored --nocapture

## make fuzz     random input against what reads packets and files, for many cases; the targets in fuzz/ where cargo-fuzz is there
fuzz:
	PROPTEST_CASES=$${FUZZ_CASES:-200000} $(CARGO) test --release --lib -- panic
	if command -v cargo-fuzz >/dev/null; then for target in $$(cargo fuzz list); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$${FUZZ_SECONDS:-300} || exit 1; done; fi
