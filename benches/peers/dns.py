#!/usr/bin/env python3
"""Waypost beside its peers: CPU time per query, queries per second, latency, memory and load time, in one run.

Each server is started pinned to core 0 with one worker thread, loaded from core 1 and stopped; then the next one. Rounds
are interleaved (A B C, A B C, ...) and medians printed, with the ratio to Waypost paired within the rounds. Loopback only.

    sh benches/peers/setup.sh                     the peers from Debian's packages, as root
    cargo build --release
    benches/peers/dns.py                          all of it, about 25 minutes
    benches/peers/dns.py --scenario real,hot --servers gdnsd,limit-udp --rounds 7
    benches/peers/dns.py --list
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time

from measure import HERE, Running, generate, load_command, make, memory_mb, rest, sample
from servers import all_servers

# Name: zone, queries, kind of load, queries a second (0: as many as are answered), what it shows.
SCENARIOS = {
    "real": ("real", "queries.txt", "udp", 0, "10,000 names, mixed queries, UDP"),
    "hot": ("steer", "hot.txt", "udp", 0, "one weighted name, UDP"),
    "many": ("steer", "many.txt", "udp", 0, "1,000 weighted names, UDP"),
    "big": ("big", "queries.txt", "udp", 0, "1,000,000 names, UDP"),
    "paced5": ("real", "queries.txt", "udp", 5_000, "10,000 names, UDP, 5,000 queries/s"),
    "paced20": ("real", "queries.txt", "udp", 20_000, "10,000 names, UDP, 20,000 queries/s"),
    "paced100": ("real", "queries.txt", "udp", 100_000, "10,000 names, UDP, 100,000 queries/s"),
    "tcp": ("real", "queries.txt", "tcp", 0, "10,000 names, 20 TCP connections, pipelined"),
}
FIELDS = ("qps", "answered_fraction", "lat_p50_us", "lat_p99_us", "cpu_us", "user_us", "system_us", "foreign")


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def shown(value, spec):
    return "-" if value is None else format(value, spec)


def report(results, subject):
    """The tables, as Markdown."""
    lines = []
    for name, servers in results["scenarios"].items():
        lines += [f"\n## {name}: {SCENARIOS[name][4]}\n",
                  f"| server | queries/s | answered | p50 us | p99 us | CPU us/query | user | system | queries/s {subject}/it "
                  f"| CPU it/{subject} |", "|" + "---|" * 10]
        for server, s in sorted(servers.items(), key=lambda item: item[1]["median"]["cpu_us"] or 9e9):
            m, r = s["median"], s.get("ratio", {})
            lines.append(f"| {server} | {shown(m['qps'], ',.0f')} | {shown(m['answered_fraction'], '.4f')} | "
                         f"{shown(m['lat_p50_us'], '.0f')} | {shown(m['lat_p99_us'], '.0f')} | {shown(m['cpu_us'], '.2f')} | "
                         f"{shown(m['user_us'], '.2f')} | {shown(m['system_us'], '.2f')} | "
                         f"{shown(r.get('qps'), '.2f')} | {shown(r.get('cpu'), '.2f')} |")
    lines += ["\n## Start and memory\n", "| server | version | zone | seconds to the first answer | MB after load | MB after queries |",
              "|" + "---|" * 6]
    for server, zones in results["start"].items():
        for zone, s in zones.items():
            lines.append(f"| {server} | {results['versions'][server][:60]} | {zone} | {shown(s['load_s'], '.3f')} | "
                         f"{shown(s['memory_mb'], '.1f')} | {shown(s['memory_after_mb'], '.1f')} |")
    lines += [f"\nFailed: {what}: {why}" for what, why in results["failed"].items()]
    return "\n".join(lines)


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")
    return f"{cpu}, {os.cpu_count()} cores, Linux {platform.release()}, {time.strftime('%Y-%m-%d')}"


def measure_one(server, zone, scenarios, results, start, args, port, base):
    """Starts one server, runs all scenarios of one zone, stops it."""
    run = Running(server, zone, port, base)
    seen = start.setdefault(server.name, {}).setdefault(zone, {"load_s": [], "memory_mb": [], "memory_after_mb": []})
    try:
        seen["load_s"].append(run.load_s)
        seen["memory_mb"].append(memory_mb(run.pids))
        rest(run)
        for name in scenarios:
            _, queries, kind, rate, _ = SCENARIOS[name]
            words = lambda s: load_command(args.made, kind, f"{args.made}/zones/{zone}/{queries}", port, s, args.edns, rate)
            generate(words(0.5))
            r = sample(run, words(args.seconds), args.retries)
            results["scenarios"][name].setdefault(server.name, {"samples": []})["samples"].append(r)
            print(f"{name:9} {server.name:10} {r['qps']:11,.0f} queries/s {r['cpu_us']:7.2f} us/query (user {r['user_us']:.2f})"
                  f"  p99 {r['lat_p99_us']:.0f} us  answered {r['answered_fraction']:.4f}  others' CPU {r['foreign']:.0%}",
                  file=sys.stderr, flush=True)
        seen["memory_after_mb"].append(memory_mb(run.pids))
    finally:
        run.stop()


def settle(results, start, subject):
    """Medians, and ratios to the subject paired within the rounds."""
    for servers in results["scenarios"].values():
        mine = servers.get(subject, {}).get("samples", [])
        for s in servers.values():
            s["median"] = {field: median([x.get(field) for x in s["samples"]]) for field in FIELDS}
            pairs = list(zip(mine, s["samples"]))
            s["ratio"] = {"qps": median([m["qps"] / x["qps"] for m, x in pairs if x["qps"]]),
                          "cpu": median([x["cpu_us"] / m["cpu_us"] for m, x in pairs if m["cpu_us"]])}
    results["start"] = {server: {zone: {key: median(values) for key, values in s.items()} for zone, s in zones.items()}
                        for server, zones in start.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waypost", default=os.path.join(HERE, "../../target/release/waypost"), help="the binary")
    parser.add_argument("--scenario", default=",".join(SCENARIOS), help="comma list (default: all)")
    parser.add_argument("--servers", default="", help="comma list of peers (default: all that are installed)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement")
    parser.add_argument("--edns", type=int, default=70, help="per cent of queries with EDNS")
    parser.add_argument("--retries", type=int, default=1, help="repeats of a sample that others disturbed")
    parser.add_argument("--port", type=int, default=5300)
    parser.add_argument("--made", default=os.path.join(tempfile.gettempdir(), "waypost-peers"), help="folder for zones and tools")
    parser.add_argument("--json", default="", help="a file for all figures")
    parser.add_argument("--list", action="store_true", help="servers and scenarios that can run here")
    args = parser.parse_args()

    servers = all_servers(args.made, os.path.abspath(args.waypost))
    chosen, names = args.scenario.split(","), [n for n in args.servers.split(",") if n]
    unknown = [n for n in chosen if n not in SCENARIOS] + [n for n in names if n not in servers]
    if unknown:
        parser.error("unknown: " + ", ".join(unknown))
    make(args.made)
    if args.list:
        for name, server in servers.items():
            print(f"{name:12} {server.version() if server.available() else 'not installed'}")
        for name, scenario in SCENARIOS.items():
            print(f"{name:12} {scenario[4]}")
        return 0
    for name in (n for n in names if not servers[n].available()):
        print(f"not installed, left out: {name}", file=sys.stderr)
    if not servers["waypost"].available():
        parser.error(f"no binary at {args.waypost}: cargo build --release")
    order = ["waypost"] + [n for n in (names or servers) if n != "waypost" and servers[n].available()]

    results = {"machine": machine(), "rounds": args.rounds, "seconds": args.seconds, "failed": {},
               "versions": {n: servers[n].version() for n in order}, "scenarios": {n: {} for n in chosen}}
    start, base = {}, tempfile.mkdtemp(prefix="waypost-peers-")
    try:
        for zone in dict.fromkeys(SCENARIOS[n][0] for n in chosen):
            of_zone = [n for n in chosen if SCENARIOS[n][0] == zone]
            for turn in range(args.rounds):
                for place, name in enumerate(order):
                    server = servers[name]
                    todo = [n for n in of_zone if (server.tcp if SCENARIOS[n][2] == "tcp" else server.udp)]
                    if not todo or f"{name}/{zone}" in results["failed"]:
                        continue
                    try:
                        port = args.port + (place + turn * len(order)) % 200
                        measure_one(server, zone, todo, results, start, args, port, base)
                    except RuntimeError as why:
                        results["failed"][f"{name}/{zone}"] = str(why)
                        print(f"!! {name} on {zone}: {why}", file=sys.stderr)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    settle(results, start, "waypost")
    print(report(results, "waypost"))
    print(f"\n{results['machine']}; {args.rounds} rounds of {args.seconds:g} s")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=1)
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
