"""The forwarders that forward.py compares: how each is configured, started and weighed."""
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time

from measure import LOAD_CPU, SERVER_CPU, TICK, as_on, tree

HAPROXY = """global
    nbthread 1
    maxconn {most}
    maxpipes 64
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    {splice}
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server s 127.0.0.1:{target}
"""
NGINX = """load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log crit;
events { worker_connections {twice}; }
stream {
    proxy_timeout 1h;
    server { listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{target}; }
    server { listen 127.0.0.1:{udp_port} udp; proxy_pass 127.0.0.1:{target}; proxy_timeout 5s; }
}
"""
RINETD = """127.0.0.1 {port} 127.0.0.1 {target}
127.0.0.1 {udp_port}/udp 127.0.0.1 {target}/udp [timeout=5]
"""
# Name: command, configuration, whether it forwards UDP. Each runs in the foreground with one worker.
FORWARDERS = {
    "waypost": ("{waypost} forward --config {config}", RINETD, True),
    "rinetd": ("rinetd -f -c {config}", RINETD, True),
    # Its splice-auto never spliced here, as strace shows; this always does.
    "haproxy-splice": ("haproxy -db -f {config}",
                       HAPROXY.replace("{splice}", "option splice-request\n    option splice-response"), False),
    "haproxy": ("haproxy -db -f {config}", HAPROXY.replace("{splice}", ""), False),
    "nginx": ("nginx -c {config} -e {dir}/e.log", NGINX, True),
    "socat": ("socat TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=1024 TCP:127.0.0.1:{target}", "", False),
    "systemd-proxyd": ("systemd-socket-activate -l 127.0.0.1:{port} /lib/systemd/systemd-socket-proxyd "
                       "--connections-max={twice} 127.0.0.1:{target}", "", False),
    "limit-splice": ("{tools}/splice_forward -m hybrid {port} {target}", "", False),
    "limit-copy": ("{tools}/splice_forward -m copy {port} {target}", "", False),
}
# These start a process for each connection.
FORKS = {"socat"}


def installed(name, waypost):
    if name == "waypost":
        return os.access(waypost, os.X_OK)
    return name == "direct" or name.startswith("limit-") or shutil.which(FORWARDERS[name][0].split()[0]) is not None


def free_port():
    """A port that neither TCP nor UDP uses."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(("127.0.0.1", tcp.getsockname()[1]))
            except OSError:
                continue
            return tcp.getsockname()[1]


class Process:
    """A child on one core; ends with its descendants."""

    running = []

    def __init__(self, words, cpu, **how):
        self.child = subprocess.Popen(words, preexec_fn=as_on(cpu), **how)
        Process.running.append(self)

    def stop(self):
        if self in Process.running:
            Process.running.remove(self)
        ours = tree(self.child.pid)
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(2)
            except subprocess.TimeoutExpired:
                pass
        for pid in ours:
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        self.child.wait()


class Target:
    """What connections are forwarded to."""

    def __init__(self, tools):
        self.port = free_port()
        self.process = Process([f"{tools}/forward_load", "backend", str(self.port)], LOAD_CPU, stdout=subprocess.PIPE)
        self.process.child.stdout.readline()

    def stop(self):
        self.process.stop()


class Forwarder:
    """A forwarder that runs. `direct` is none: its port is the target's own."""

    def __init__(self, name, target, tools, base, waypost, most_idle):
        self.name, self.process = name, None
        self.port = self.udp_port = target.port
        self.udp = True
        if name == "direct":
            return
        command, config, self.udp = FORWARDERS[name]
        self.port, self.udp_port = free_port(), free_port()
        folder = tempfile.mkdtemp(prefix=f"{name}-", dir=base)
        words = {"port": self.port, "udp_port": self.udp_port, "target": target.port, "dir": folder, "tools": tools,
                 "config": f"{folder}/config", "waypost": waypost, "most": most_idle + 50, "twice": most_idle * 2 + 100}
        fill = lambda text: re.sub(r"\{(\w+)\}", lambda m: str(words.get(m[1], m[0])), text)
        with open(words["config"], "w") as f:
            f.write(fill(config))
        with open(f"{folder}/out", "w") as out:
            self.process = Process(shlex.split(fill(command)), SERVER_CPU, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=out)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                time.sleep(0.03)
        else:
            with open(f"{folder}/out") as out:
                raise RuntimeError(f"{name} does not listen: {out.read()[-400:]}")
        time.sleep(0.1)
        self.pids = tree(self.process.child.pid)

    def cpu_seconds(self):
        """Processor time of all its threads, user and system, of ended children too."""
        if self.process is None:
            return 0.0
        if self.name in FORKS:
            self.pids = tree(self.process.child.pid)
        used = 0.0
        for pid in self.pids:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                        used += int(f.read().split()[0]) / 1e9
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                used += (int(fields[13]) + int(fields[14])) / TICK
            except OSError:
                pass
        return used

    def memory_octets(self):
        """Resident memory of all its processes; what they share counts each time."""
        kb = 0
        for pid in tree(self.process.child.pid):
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    kb += sum(int(line.split()[1]) for line in f if line.startswith("Rss:"))
            except OSError:
                pass
        return kb * 1024

    def stop(self):
        if self.process:
            self.process.stop()
