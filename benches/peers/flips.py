#!/usr/bin/env python3
"""From a flip acknowledged durable to the first changed answer: how long a client is given the old site yet.

One Waypost on loopback, with one pool of two sites. Each flip gives all clients the other site; once the API has answered that
it is durable, A is asked over UDP again and again until the answer is the new one. Printed are p50, p99 and the largest of
that time, and of the flip's own (sent to acknowledged), in milliseconds.

    cargo build --release
    benches/peers/flips.py                    500 flips: a few seconds
"""
import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SITES = {"a": "192.0.2.11", "b": "192.0.2.12"}
CONFIG = """
[server]
name = "ns1"
listen = ["127.0.0.1:{port}"]
workers = 1
state = "state"
[api]
listen = "127.0.0.1:{api}"
[[zone]]
name = "example.org"
file = "zone"
[[site]]
name = "a"
[[site]]
name = "b"
[[pool]]
name = "www.example.org"
endpoint = [
  {{ site = "a", address = ["192.0.2.11"], weight = 1 }},
  {{ site = "b", address = ["192.0.2.12"], weight = 0 }},
]
"""
ZONE = "$TTL 1h\n@ SOA ns hostmaster 1 1h 15m 4w 5m\n  NS ns\nns A 127.0.0.1\n"
QUERY = b"\0\7\0\0\0\1\0\0\0\0\0\0\3www\7example\3org\0\0\1\0\1"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(binary, folder):
    ports = {"port": free_port(), "api": free_port()}
    for name, text in (("waypost.toml", CONFIG.format(**ports)), ("zone", ZONE)):
        with open(f"{folder}/{name}", "w") as f:
            f.write(text)
    log = open(f"{folder}/log", "w")
    server = subprocess.Popen([binary, "serve", "--config", "waypost.toml"], cwd=folder, stdout=log, stderr=log)
    until = time.monotonic() + 10
    while time.monotonic() < until and server.poll() is None:
        try:
            api = http.client.HTTPConnection("127.0.0.1", ports["api"], timeout=10)
            api.request("GET", "/readyz")
            if api.getresponse().read() is not None:
                return server, api, ports["port"]
        except OSError:
            time.sleep(0.05)
    with open(f"{folder}/log") as f:
        sys.exit(f"waypost did not start:\n{f.read()}")


def flips(api, token, port, count):
    """Seconds from each acknowledgement to the first changed answer, and of each flip itself."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", port))
    client.settimeout(5)
    headers = {"Authorization": f"Bearer {token}", "If-Match": "*"}
    after, itself = [], []
    for turn in range(count):
        new, old = ("b", "a") if turn % 2 == 0 else ("a", "b")
        body = json.dumps({"weights": {"www.example.org": {new: 1, old: 0}}, "reason": "bench"})
        sent = time.perf_counter()
        api.request("POST", "/api/v1/flips", body, headers)
        answer = api.getresponse()
        said = answer.read()
        acknowledged = time.perf_counter()
        if answer.status != 200:
            sys.exit(f"flip {turn}: {answer.status} {said.decode()}")
        wanted = socket.inet_aton(SITES[new])
        while True:
            client.send(QUERY)
            if client.recv(512)[-4:] == wanted:
                break
        after.append(time.perf_counter() - acknowledged)
        itself.append(acknowledged - sent)
    return after, itself


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waypost", default=os.path.join(HERE, "../../target/release/waypost"))
    parser.add_argument("--flips", type=int, default=500)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="waypost-flips-")
    server, api, port = start(os.path.abspath(args.waypost), folder)
    try:
        with open(f"{folder}/state/admin.token") as f:
            token = f.read().strip()
        flips(api, token, port, min(20, args.flips))  # the first ones are slower: caches, and the store's file
        after, itself = flips(api, token, port, args.flips)
        print("| of %d flips | p50 ms | p99 ms | most ms |\n|---|---|---|---|" % args.flips)
        for what, seconds in (("acknowledged to first changed answer", after), ("sent to acknowledged", itself)):
            ms = sorted(s * 1000 for s in seconds)
            print(f"| {what} | {ms[len(ms) // 2]:.2f} | {ms[len(ms) * 99 // 100]:.2f} | {ms[-1]:.2f} |")
    finally:
        server.terminate()
        server.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
