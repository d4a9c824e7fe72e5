"""Starting, loading and weighing a server: all on loopback, server on core 0, load on core 1."""
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

from servers import ORIGINS

SERVER_CPU, LOAD_CPU = 0, 1
TICK = os.sysconf("SC_CLK_TCK")
HERE = os.path.dirname(os.path.abspath(__file__))


# ------------------------------------------------------------------ /proc --

def tree(root):
    """root and all its descendants."""
    children = {}
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{p}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(p))
        except OSError:
            pass
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(pids):
    """User and system time of all threads of these processes."""
    user = system = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        except OSError:
            pass
    return user / TICK, system / TICK


def memory_mb(pids):
    kb = 0
    for p in pids:
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                kb += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except OSError:
            pass
    return kb / 1024


def machine_busy_seconds():
    with open("/proc/stat") as f:
        x = [int(v) for v in f.readline().split()[1:]]
    return (x[0] + x[1] + x[2] + x[5] + x[6]) / TICK


def pin(pids):
    for p in pids:
        try:
            for thread in os.listdir(f"/proc/{p}/task"):
                os.sched_setaffinity(int(thread), {SERVER_CPU})
        except OSError:
            pass


def as_on(cpu):
    """For a child: on this core, in a group of its own, ahead of what else runs here."""
    def prepare():
        os.sched_setaffinity(0, {cpu})
        try:
            os.setsid()
            os.setpriority(os.PRIO_PROCESS, 0, -20)
            with open("/proc/self/autogroup", "w") as group:
                group.write("-20")
        except OSError:
            pass
    return prepare


# ----------------------------------------------------------------- server --

def ask_soa(port, origin):
    """The response to a query for the zone's SOA, or None."""
    query_id = random.randrange(65536)
    query = struct.pack(">HHHHHH", query_id, 0, 1, 0, 0, 0)
    for label in origin.split("."):
        query += bytes([len(label)]) + label.encode()
    query += b"\0" + struct.pack(">HH", 6, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.settimeout(0.05)
            s.connect(("127.0.0.1", port))  # so that a port that is not open yet says so at once
            s.send(query)
            b = s.recv(4096)
        except OSError:
            return None
    return b if len(b) >= 12 and b[:2] == query[:2] and b[2] & 0x80 else None


class Running:
    """A server that answers. `load_s` is the time from its start to its first answer."""

    def __init__(self, server, zone, port, base, command=None):
        self.server, self.zone, self.port = server, zone, port
        self.work = os.path.join(base, f"{server.name}-{zone}")
        shutil.rmtree(self.work, ignore_errors=True)
        os.makedirs(self.work)
        self.log = open(f"{self.work}/out", "wb")
        begun = time.monotonic()
        self.process = subprocess.Popen(command or server.command(zone, port, self.work), stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL, preexec_fn=as_on(SERVER_CPU))
        while True:
            b = ask_soa(port, ORIGINS[zone])
            if b and (not server.answers or (b[3] & 15 == 0 and b[6:8] != b"\0\0")):
                break
            if self.process.poll() is not None or time.monotonic() - begun > 180:
                with open(f"{self.work}/out", errors="replace") as f:
                    tail = f.read()[-800:]
                self.stop()
                raise RuntimeError(f"{server.name} did not come up with zone {zone}: {tail}")
            time.sleep(0.002)
        self.load_s = time.monotonic() - begun
        self.pids = tree(self.process.pid)
        pin(self.pids)

    def stop(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                break
            try:
                os.killpg(self.process.pid, sig)
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # whatever of its own group outlived it
        except OSError:
            pass
        self.log.close()
        time.sleep(0.05)


# ------------------------------------------------------------------- load --

# How a scenario's load is made: words for ./load.
KINDS = {
    "udp": ["-c", "4", "-q", "192", "-b", "64"],
    "tcp": ["-T", "-c", "20", "-q", "400", "-b", "32", "-t", "2000"],
}


def rest(run, at_most_s=15):
    """Waits until the server has done what it does behind its first answer, such as storing a copy of the zone."""
    until = time.monotonic() + at_most_s
    while time.monotonic() < until:
        before = sum(cpu_seconds(run.pids))
        time.sleep(0.25)
        if sum(cpu_seconds(run.pids)) - before <= 0.01:
            return


def load_command(made, kind, queries, port, seconds, edns, rate=0):
    words = [f"{made}/tools/load", "-p", str(port), "-d", queries, "-l", str(seconds), "-e", str(edns), "-D", "50",
             "-S", str(random.randrange(1 << 30)), *KINDS[kind]]
    return words + (["-Q", str(rate)] if rate else [])


def generate(words):
    """Runs the load on its core; what it says."""
    run = subprocess.run(words, capture_output=True, text=True, preexec_fn=as_on(LOAD_CPU), timeout=660)
    if run.returncode:
        raise RuntimeError(f"load: {run.stderr.strip()}")
    return json.loads(run.stdout)


def sample(run, words, retries):
    """One measurement of a running server, repeated while others disturb the machine; the least disturbed one counts."""
    best = None
    for _ in range(retries + 1):
        user0, system0 = cpu_seconds(run.pids)
        load0 = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy0, own0, begun = machine_busy_seconds(), time.process_time(), time.monotonic()
        r = generate(words)
        wall = time.monotonic() - begun
        busy1, own1 = machine_busy_seconds(), time.process_time()
        load1 = resource.getrusage(resource.RUSAGE_CHILDREN)
        user1, system1 = cpu_seconds(run.pids)
        load = load1.ru_utime + load1.ru_stime - load0.ru_utime - load0.ru_stime
        server = user1 + system1 - user0 - system0
        answered = max(r["answered"], 1)
        r.update(user_us=(user1 - user0) / answered * 1e6, system_us=(system1 - system0) / answered * 1e6,
                 cpu_us=server / answered * 1e6,
                 foreign=max(0.0, (busy1 - busy0 - server - load - (own1 - own0)) / wall))
        if best is None or r["foreign"] < best["foreign"]:
            best = r
        if r["foreign"] < 0.05:
            break
    return best


# ------------------------------------------------------------------ tools --

def make(made):
    """Compiles the load and the limits, and writes the zones, where they are missing or old."""
    tools = f"{made}/tools"
    os.makedirs(tools, exist_ok=True)
    for name in ("load", "udp_echo", "tcp_echo"):
        source, binary = f"{HERE}/{name}.c", f"{tools}/{name}"
        if not os.path.exists(binary) or os.path.getmtime(binary) < os.path.getmtime(source):
            subprocess.run(["cc", "-O2", "-march=native", "-Wall", "-Wextra", "-o", binary, source], check=True)
    if not os.path.exists(f"{made}/zones/.made"):
        print("making the zones ...", flush=True)
        subprocess.run(["python3", f"{HERE}/zones.py", f"{made}/zones"], check=True)
