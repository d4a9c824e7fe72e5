#!/usr/bin/env python3
"""Waypost's and Knot's AF_XDP, side by side, through a cable between two network namespaces.

Both serve the zone of 10,000 names at a veth interface, on core 0; Knot's kxdpgun asks from the other end, on core 1, at
rising rates. Printed are the answers a second, the share answered, and CPU time per answer of the server's core (its own
and the kernel's work for it: the time in which the core was not idle). As root; the namespaces are removed at the
end. `sockets` is Waypost without XDP on the same cable.

    cargo build --release
    benches/peers/xdp.py
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from measure import HERE, LOAD_CPU, SERVER_CPU, TICK, make
from servers import ORIGINS, write

NEAR, FAR = "waypost-load", "waypost-server"
SERVER, CLIENT = "198.18.0.1", "198.18.0.2"


def run(*words, check=True):
    return subprocess.run(words, capture_output=True, text=True, check=check)


def cable():
    for space in (FAR, NEAR):
        run("ip", "netns", "add", space)
    run("ip", "link", "add", "far", "netns", FAR, "type", "veth", "peer", "name", "near", "netns", NEAR)
    for space, interface, address in ((FAR, "far", SERVER), (NEAR, "near", CLIENT)):
        run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", interface)
        run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", space, "link", "set", interface, "up")


def idle(core):
    """Seconds that the core had nothing to do. The kernel measures these; what it was busy with it samples at its ticks,
    with which a load that is paced in milliseconds keeps step."""
    with open("/proc/stat") as f:
        line = next(line for line in f if line.startswith(f"cpu{core} "))
    x = [int(v) for v in line.split()[1:]]
    return (x[3] + x[4]) / TICK


def commands(args, work):
    zone = f"{args.made}/zones/real/{ORIGINS['real']}.zone"
    waypost = os.path.abspath(args.waypost)
    config = lambda name, listen: write(f"{work}/{name}.toml", f'[server]\nname = "ns1.bench"\nlisten = [{listen}]\nworkers = 1\n'
                                        f'state = "{work}/{name}"\n[api]\nlisten = "127.0.0.1:5380"\n'
                                        f'[[zone]]\nname = "{ORIGINS["real"]}"\nfile = "{zone}"\n')
    knot = lambda name, listen: write(f"{work}/{name}.conf", f"""
server:
  rundir: "{work}"
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  {listen}
log:
  - target: stderr
    any: error
database:
  storage: "{work}/{name}"
zone:
  - domain: {ORIGINS["real"]}
    file: "{zone}"
    semantic-checks: off
    journal-content: none
    zonefile-sync: -1
""")
    return {
        "waypost xdp": [waypost, "serve", "--config", config("xdp", f'"{SERVER}:53", "xdp:far"')],
        "knot xdp": ["knotd", "-c", knot("kx", f"listen: {SERVER}@54\nxdp:\n  listen: far@53")],
        "waypost sockets": [waypost, "serve", "--config", config("sockets", f'"{SERVER}:53"')],
        "knot sockets": ["knotd", "-c", knot("ks", f"listen: {SERVER}@53")],
    }


def wait_for(process):
    for _ in range(600):
        said = run("ip", "netns", "exec", NEAR, "kdig", "+timeout=1", "+retry=0", "+short", f"@{SERVER}", ORIGINS["real"], "SOA",
                   check=False)
        if said.stdout.strip() and "WARNING" not in said.stdout:
            return
        if process.poll() is not None:
            raise RuntimeError(f"it ended: {process.returncode}")
        time.sleep(0.1)
    raise RuntimeError("it did not answer in 60 s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waypost", default=os.path.join(HERE, "../../target/release/waypost"))
    parser.add_argument("--rates", default="50000,200000,400000,800000", help="queries a second")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--made", default=os.path.join(tempfile.gettempdir(), "waypost-peers"))
    args = parser.parse_args()
    make(args.made)
    work = tempfile.mkdtemp(prefix="waypost-xdp-")
    found = {}
    try:
        cable()
        for _ in range(args.rounds):
            for name, command in commands(args, work).items():
                log = open(f"{work}/log", "w")
                process = subprocess.Popen(["ip", "netns", "exec", FAR, "taskset", "-c", str(SERVER_CPU), *command], stdout=log, stderr=log)
                try:
                    wait_for(process)
                    for rate in map(int, args.rates.split(",")):
                        begun, wall = idle(SERVER_CPU), time.monotonic()
                        said = run("ip", "netns", "exec", NEAR, "taskset", "-c", str(LOAD_CPU), "kxdpgun", "-F", str(LOAD_CPU), "-t",
                                   str(args.seconds), "-Q", str(rate), "-i", f"{args.made}/zones/real/queries.txt", "-I", "near", "-p", "53", SERVER).stdout
                        used = time.monotonic() - wall - (idle(SERVER_CPU) - begun)
                        replies, share = re.search(r"total replies:\s+(\d+) \(\d+ pps\) \((\d+)%\)", said).groups()
                        found.setdefault((name, rate), []).append((int(replies) / args.seconds, int(share), used / max(int(replies), 1) * 1e6))
                        print(f"{name:16} {rate:9,} asked {int(replies) / args.seconds:10,.0f} answered ({share} %) "
                              f"{used / max(int(replies), 1) * 1e6:6.2f} us of the core each", file=sys.stderr, flush=True)
                except (RuntimeError, subprocess.CalledProcessError, AttributeError) as why:
                    with open(f"{work}/log", errors="replace") as f:
                        print(f"!! {name}: {why}: {f.read()[-400:]}", file=sys.stderr)
                finally:
                    process.send_signal(signal.SIGTERM)
                    process.wait(10)
    finally:
        for space in (NEAR, FAR):
            run("ip", "netns", "del", space, check=False)
        shutil.rmtree(work, ignore_errors=True)
    print("| server | asked /s | answered /s | share | CPU us each |\n|" + "---|" * 5)
    middle = lambda values: sorted(values)[len(values) // 2]
    for (name, rate), seen in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        print(f"| {name} | {rate:,} | {middle([s[0] for s in seen]):,.0f} | {middle([s[1] for s in seen])} % | {middle([s[2] for s in seen]):.2f} |")


if __name__ == "__main__":
    sys.exit(main())
