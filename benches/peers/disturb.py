#!/usr/bin/env python3
"""What an operator does in the middle of the load, and what the clients notice of it.

One Waypost with the zone of 1,000,000 names and a pool of two sites answers 20,000 queries/s (and then as many as it
can), while flips, changes of health, reloads of the whole zone, or scrapes of the metrics go on. Lost queries and p99 are
printed for each beside the mean of quiet runs just before and just after it; of the rounds the median, and how far the
middle half of them lies apart. A change that is smaller than that says nothing.

    cargo build --release
    benches/peers/disturb.py                  five rounds: about six minutes for each rate
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from measure import HERE, LOAD_CPU, Running, as_on, load_command, make
from servers import API, Waypost

SITES = """
[[site]]
name = "a"
[[site]]
name = "b"
[[pool]]
name = "www.big.example"
ttl = { normal = "60s", low = "30s" }
endpoint = [
  { site = "a", address = ["127.0.0.11"], weight = 50 },
  { site = "b", address = ["127.0.0.12"], weight = 50 },
]
"""


class Operator:
    """Speaks to the API, as a client on the load's core."""

    def __init__(self, run):
        self.base = f"http://127.0.0.1:{run.port + API}"
        with open(f"{run.work}/state/admin.token") as f:
            self.token = f.read().strip()
        self.turn = 0

    def call(self, method, path, body=None, generation=None):
        headers = {"Authorization": f"Bearer {self.token}"}
        if generation is not None:
            headers["If-Match"] = f'"{generation}"'
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def flip(self):
        self.turn += 1
        weights = {"a": 50 + self.turn % 2, "b": 50 - self.turn % 2}
        generation = json.loads(self.call("GET", "/api/v1/status"))["generation"]
        self.call("POST", "/api/v1/flips", {"weights": {"www.big.example": weights}, "reason": "bench"}, generation)

    def health(self):
        self.turn += 1
        said = {"override": ["down", "obey"][self.turn % 2], "reason": "bench"}
        self.call("PUT", "/api/v1/pools/www.big.example/endpoints/a/override", said)

    def reload(self):
        self.turn += 1
        with open(self.zone_file, "a") as f:
            f.write(f"again{self.turn} A 127.0.0.1\n")
        self.call("POST", "/api/v1/reload", {})

    def scrape(self):
        self.call("GET", "/metrics")


def measure(words, doing, every_s):
    """Runs the load, and `doing` beside it again and again; what the load says, and how often it was done."""
    load = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, preexec_fn=as_on(LOAD_CPU))
    done = 0
    time.sleep(0.2)
    while load.poll() is None and doing:
        doing()
        done += 1
        time.sleep(every_s)
    said = json.loads(load.communicate()[0])
    return said, done


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waypost", default=os.path.join(HERE, "../../target/release/waypost"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rates", default="20000,0", help="queries a second; 0: as many as are answered")
    parser.add_argument("--what", default="flip,health,reload,scrape")
    parser.add_argument("--port", type=int, default=5300)
    parser.add_argument("--made", default=os.path.join(tempfile.gettempdir(), "waypost-peers"))
    args = parser.parse_args()
    make(args.made)
    base = tempfile.mkdtemp(prefix="waypost-disturb-")
    server = Waypost(args.made, os.path.abspath(args.waypost))
    zone_file = shutil.copy(server.zone_file("big"), f"{base}/big.zone")
    server.zone_file = lambda zone: zone_file
    queries = f"{args.made}/zones/big/queries.txt"
    config = server.config("big", args.port, base, SITES)
    run = Running(server, "big", args.port, base, [server.binary(), "serve", "--config", config])
    try:
        run.work = base
        operator = Operator(run)
        operator.zone_file = zone_file
        print("| what | queries/s asked | times | lost | p99 us, quiet | p99 us | change | middle half |\n|" + "---|" * 8)
        for rate in map(int, args.rates.split(",")):
            for what in args.what.split(","):
                quiet, busy, lost, times = [], [], 0, 0
                for _ in range(args.rounds):
                    words = load_command(args.made, "udp", queries, args.port, args.seconds, 70, rate)
                    first = measure(words, None, 0)[0]["lat_p99_us"]
                    said, done = measure(words, getattr(operator, what), 0.2)
                    last = measure(words, None, 0)[0]["lat_p99_us"]
                    quiet.append((first + last) / 2)  # what drifts meanwhile counts for half
                    busy.append(said["lat_p99_us"])
                    lost, times = lost + said["lost"], times + done
                before, after = statistics.median(quiet), statistics.median(busy)
                changes = [b / q - 1 for b, q in zip(busy, quiet)]
                low, change, high = statistics.quantiles(changes, n=4) if len(changes) > 1 else changes * 3
                print(f"| {what} | {rate or 'all'} | {times} | {lost} | {before:.0f} | {after:.0f} | {change:+.1%} | "
                      f"{low:+.1%} to {high:+.1%} |", flush=True)
    finally:
        run.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
