#!/bin/sh
# Plays the migration night again and again for so many minutes (60), and stops at the first that fails.
set -eu
minutes=${1:-60}
end=$(($(date +%s) + minutes * 60))
cargo test --no-run --test migration
nights=0
while [ "$(date +%s)" -lt "$end" ]; do
	cargo test --test migration -- --nocapture
	nights=$((nights + 1))
	echo "nights without a failure: $nights"
done
