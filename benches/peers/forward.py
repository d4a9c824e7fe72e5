#!/usr/bin/env python3
"""`waypost forward` beside its peers: CPU time per gigabyte, connection and round trip, and memory, in one run.

Each forwarder is pinned to core 0, clients and target to core 1. CPU time is the forwarder's alone, as a loopback saturates
long before a network does. Rounds are interleaved (A B C, A B C, ...) and medians printed, with ratios paired within the
rounds. Loopback only; a run is bounded, and ends what it started.

    sh benches/peers/setup.sh                     the peers from Debian's packages, as root
    cargo build --release
    benches/peers/forward.py                      all of it, about 10 minutes
    benches/peers/forward.py --rounds 3           about 5 minutes
    benches/peers/forward.py --quick --forwarders waypost,rinetd,limit-splice
    benches/peers/forward.py --subject mine=/path/to/another/waypost
"""
import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from forwarders import FORKS, FORWARDERS, Forwarder, Process, Target, installed
from measure import HERE, LOAD_CPU

# What is measured: unit as shown, decimals, whether more is better.
FIGURES = {
    "bulk1_cpu": ("CPU s/GB, 1 connection", 3, False),
    "bulk8_cpu": ("CPU s/GB, 8 connections", 3, False),
    "up1_cpu": ("CPU s/GB up, 1 connection", 3, False),
    "bulk1_gbit": ("Gbit/s, 1 connection", 1, True),
    "short_cpu": ("CPU us/short connection", 1, False),
    "short_rate": ("short connections/s", 0, True),
    "trip_cpu": ("CPU us/round trip", 1, False),
    "trip_p50": ("round trip p50 us", 1, False),
    "trip_p99": ("round trip p99 us", 1, False),
    "udp_cpu": ("UDP CPU us/request", 1, False),
    "udp_lost": ("UDP lost", 0, False),
}


class Load:
    """How long and how much; words for ./forward_load."""

    def __init__(self, tools, quick):
        self.tools = tools
        self.bulk_s, self.warm_s, self.udp_s = (0.35, 0.1, 0.2) if quick else (1.5, 0.2, 0.8)
        self.short, self.trips = (1500, 1200) if quick else (5000, 8000)

    def run(self, forwarder, *words):
        """Numbers that the load tells at its end, and the forwarder's CPU seconds meanwhile."""
        load = Process([f"{self.tools}/forward_load", *map(str, words)], LOAD_CPU, stdout=subprocess.PIPE, text=True)
        try:
            if not load.child.stdout.readline().startswith("START"):
                raise RuntimeError(f"{forwarder.name}: the load did not start: {words}")
            before = forwarder.cpu_seconds()
            line = load.child.stdout.readline()
            used = forwarder.cpu_seconds() - before
            if not line.startswith("END"):
                raise RuntimeError(f"{forwarder.name}: the load ended early: {words}")
            return [float(word) for word in line.split()[1:]], used
        finally:
            try:
                load.child.wait(30)
            except subprocess.TimeoutExpired:
                pass
            load.stop()

    def bulk(self, forwarder, connections, direction):
        (octets, seconds), cpu = self.run(forwarder, "bulk", forwarder.port, connections, self.warm_s, self.bulk_s,
                                          direction)
        return octets * 8 / seconds / 1e9, cpu / (octets / 1e9)

    def all(self, forwarder):
        """One round of everything."""
        figures = {}
        figures["bulk1_gbit"], figures["bulk1_cpu"] = self.bulk(forwarder, 1, "down")
        _, figures["bulk8_cpu"] = self.bulk(forwarder, 8, "down")
        _, figures["up1_cpu"] = self.bulk(forwarder, 1, "up")
        count = 1000 if forwarder.name in FORKS else self.short
        (done, failed, seconds, _, _), cpu = self.run(forwarder, "conns", forwarder.port, count, 16)
        if failed:
            raise RuntimeError(f"{forwarder.name}: {failed:.0f} of {count} connections failed")
        figures["short_rate"], figures["short_cpu"] = done / seconds, cpu / done * 1e6
        (p50, p99, _, trips), cpu = self.run(forwarder, "ping", forwarder.port, self.trips)
        figures.update(trip_p50=p50, trip_p99=p99, trip_cpu=cpu / trips * 1e6)
        if forwarder.udp:
            (done, lost, _, _, _), cpu = self.run(forwarder, "udp", forwarder.udp_port, 16, self.udp_s)
            figures.update(udp_lost=lost, udp_cpu=cpu / max(done, 1) * 1e6)
        return figures

    def memory(self, forwarder, count):
        """Octets for each of `count` idle connections, after each has had a 64-octet exchange."""
        self.run(forwarder, "ping", forwarder.port, 200)
        time.sleep(0.2)
        before = forwarder.memory_octets()
        idle = Process([f"{self.tools}/forward_load", "idle", str(forwarder.port), str(count), "30"], LOAD_CPU,
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            opened = int(idle.child.stdout.readline().split()[1])
            time.sleep(0.2)
            return opened, (forwarder.memory_octets() - before) / max(opened, 1)
        finally:
            idle.child.stdin.close()
            idle.stop()


def make(tools):
    os.makedirs(tools, exist_ok=True)
    for name in ("forward_load", "splice_forward"):
        source, binary = f"{HERE}/{name}.c", f"{tools}/{name}"
        if not os.path.exists(binary) or os.path.getmtime(binary) < os.path.getmtime(source):
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", binary, source], check=True)


def median(rounds, figure):
    values = [r[figure] for r in rounds if figure in r]
    return statistics.median(values) if values else None


def ratio(subject, peer, figure):
    """The peer's figure over the subject's, median of the rounds that both have."""
    pairs = [(s[figure], p[figure]) for s, p in zip(subject, peer) if figure in s and figure in p]
    values = [p / s for s, p in pairs if s]
    return statistics.median(values) if values else None


def shown(value, decimals):
    return "-" if value is None else f"{value:,.{decimals}f}"


def report(rounds, memory, subject, failures):
    """The tables, as Markdown."""
    names = list(rounds)
    lines = [f"\nMedians of {max(map(len, rounds.values()))} rounds; in brackets how many times {subject}'s.\n",
             "| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for figure, (title, decimals, _) in FIGURES.items():
        cells = []
        for name in names:
            times = ratio(rounds[subject], rounds[name], figure) if subject in rounds and name != subject else None
            cell = shown(median(rounds[name], figure), decimals)
            cells.append(cell if times is None or name == "direct" else f"{cell} ({times:.2f})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    cells = ["-" if name not in memory else f"{memory[name][1]:,.0f} (of {memory[name][0]:,})" for name in names]
    lines.append("| RSS octets/idle connection | " + " | ".join(cells) + " |")
    lines += [f"\n{name}: {why}" for name, why in failures.items()]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default=f"waypost={HERE}/../../target/release/waypost", metavar="NAME=PROGRAM",
                        help="the waypost that is measured")
    parser.add_argument("--forwarders", help="a comma list; all that are installed where it is left out")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="short samples, three rounds")
    parser.add_argument("--json", metavar="FILE", help="every round is written here")
    arguments = parser.parse_args()
    subject, _, waypost = arguments.subject.rpartition("=")
    subject = subject or "waypost"
    FORWARDERS.setdefault(subject, FORWARDERS["waypost"])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    idle = min(10_000, limit // 2 - 250)
    names = arguments.forwarders.split(",") if arguments.forwarders else ["direct", *FORWARDERS]
    for name in [name for name in names if name != "direct" and name not in FORWARDERS]:
        parser.error(f"{name} is none of direct, {', '.join(FORWARDERS)}")
    here = [name for name in names if name == subject or installed(name, waypost)]
    failures = {name: "not installed" for name in names if name not in here}
    base = tempfile.mkdtemp(prefix="forward-")
    tools = f"{base}/tools"
    rounds, memory = {name: [] for name in here}, {}
    try:
        make(tools)
        load, target = Load(tools, arguments.quick), Target(tools)
        start = lambda name: Forwarder(name, target, tools, base, os.path.realpath(waypost), idle)
        count = arguments.rounds or (3 if arguments.quick else 7)
        for number in range(count):
            for name in here[number % len(here):] + here[:number % len(here)]:
                print(f"round {number + 1} of {count}: {name}", file=sys.stderr, flush=True)
                forwarder = None
                try:
                    forwarder = start(name)
                    rounds[name].append(load.all(forwarder))
                except (RuntimeError, ValueError) as failure:
                    failures[name] = str(failure)
                    rounds[name].append({})
                finally:
                    if forwarder:
                        forwarder.stop()
        for name in [name for name in here if name != "direct"]:
            print(f"memory: {name}", file=sys.stderr, flush=True)
            forwarder = None
            try:
                forwarder = start(name)
                memory[name] = load.memory(forwarder, 500 if name in FORKS else 1000 if arguments.quick else idle)
            except (RuntimeError, ValueError, IndexError) as failure:
                failures[name] = str(failure)
            finally:
                if forwarder:
                    forwarder.stop()
        print(f"{platform.release()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
        print(report(rounds, memory, subject, failures))
        if arguments.json:
            with open(arguments.json, "w") as f:
                json.dump({"rounds": rounds, "memory": memory, "failures": failures}, f, indent=1)
    finally:
        for process in list(Process.running):
            process.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
