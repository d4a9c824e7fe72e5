#!/usr/bin/env python3
"""What an operator does in the middle of the load, and what the clients notice of it.

One Waypost with the zone of 1,000,000 names and a pool of two sites answers 20,000 queries/s (and then as many as it
can), while a flip, a change of health, or a scrape of the metrics each second, or one reload of the whole zone, go on. Lost
queries and p99 are printed for each beside the mean of quiet runs just before and just after it; of the rounds the
median, and how far the middle half of them lies apart. "nothing" is a run in which nothing is done: what the machine itself
makes of it. A change that is smaller than that says nothing.

    cargo build --release
    benches/peers/disturb.py                  five rounds: about seven minutes for each rate
    benches/peers/disturb.py --rates 0 --seconds 10    what a flood leaves to a reload takes so long
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

from measure import HERE, Running, generate, load_command, make, rest
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
    """Writes the HTTP requests that the load sends from its own loop: a client of its own would disturb what it measures."""

    def __init__(self, run, zone_file, base, every_ms):
        self.every_ms = every_ms
        self.port, self.zone_file, self.base = run.port + API, zone_file, base
        with open(f"{run.work}/state/admin.token") as f:
            self.token = f.read().strip()
        self.turn = 0

    def requests(self, *wanted, every_ms=None):
        """What the load is told, for requests of (method, path, body) in turn."""
        words = ["-H", str(self.port), "-P", str(every_ms or self.every_ms)]
        for i, (method, path, body) in enumerate(wanted):
            data = "" if body is None else json.dumps(body)
            head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Authorization: Bearer {self.token}"]
            head += ["If-Match: *", f"Content-Length: {len(data)}", "Content-Type: application/json"] if data else []
            with open(f"{self.base}/request{i}", "w", newline="") as f:
                f.write("\r\n".join(head) + "\r\n\r\n" + data)
            words += ["-R", f"{self.base}/request{i}"]
        return words

    def nothing(self):
        return []

    def flip(self):
        flips = ({"weights": {"www.big.example": {"a": a, "b": 100 - a}}, "reason": "bench"} for a in (51, 50))
        return self.requests(*(("POST", "/api/v1/flips", flip) for flip in flips))

    def health(self):
        path = "/api/v1/pools/www.big.example/endpoints/a/override"
        return self.requests(*(("PUT", path, {"override": to, "reason": "bench"}) for to in ("down", "obey")))

    def reload(self):
        self.turn += 1
        with open(self.zone_file, "a") as f:
            f.write(f"again{self.turn} A 127.0.0.1\n")
        return self.requests(("POST", "/api/v1/reload", {}), every_ms=300_000)  # one for each change of the file

    def scrape(self):
        return self.requests(("GET", "/metrics", None))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waypost", default=os.path.join(HERE, "../../target/release/waypost"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--every-ms", type=int, default=1000, help="from one flip, change or scrape to the next")
    parser.add_argument("--rates", default="20000,0", help="queries a second; 0: as many as are answered")
    parser.add_argument("--what", default="nothing,flip,health,reload,scrape")
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
        operator = Operator(run, zone_file, base, args.every_ms)
        rest(run)
        print("| what | queries/s asked | times | lost | p99 us, quiet | p99 us | change | middle half |\n|" + "---|" * 8)
        for rate in map(int, args.rates.split(",")):
            for what in args.what.split(","):
                quiet, busy, lost, times = [], [], 0, 0
                for _ in range(args.rounds):
                    words = load_command(args.made, "udp", queries, args.port, args.seconds, 70, rate)
                    asked = getattr(operator, what)()
                    first = generate(words)["lat_p99_us"]
                    said = generate(words + asked)
                    last = generate(words)["lat_p99_us"]
                    if said["requests_refused"] or bool(asked) != bool(said["requests_taken"]):
                        sys.exit(f"of {what} the API took {said['requests_taken']} and refused {said['requests_refused']}")
                    quiet.append((first + last) / 2)  # what drifts meanwhile counts for half
                    busy.append(said["lat_p99_us"])
                    lost, times = lost + said["lost"], times + said["requests_taken"]
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
