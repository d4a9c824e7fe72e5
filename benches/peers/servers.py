"""The servers that are compared: each writes its configuration and says how it is started.

One worker thread each, minimal answers, no logs, no limits in the way. What a peer calls weights is used in the steered
scenarios; a peer without any answers a fixed RRset there.
"""
import json
import os
import re
import shutil
import subprocess

# So far above its DNS port Waypost has its API.
API = 1000
ORIGINS = {"real": "real.example", "steer": "steer.example", "big": "big.example"}


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


class Server:
    """What `made` (zones and tools) and a zone's name become: command() gives the words that start it at a port."""
    name, program, udp, tcp, steers, answers = "", "", True, True, "", True

    def __init__(self, made):
        self.made = made

    def binary(self):
        return shutil.which(self.program) or f"/usr/sbin/{self.program}"

    def available(self):
        return os.access(self.binary(), os.X_OK)

    def version(self):
        return self.name

    def _version(self, *args, pattern=r"(\d+\.\d+[\w.\-]*)"):
        run = subprocess.run([self.binary(), *args], capture_output=True, text=True)
        found = re.search(pattern, run.stdout + run.stderr)
        return found.group(1) if found else "?"

    def zone_file(self, zone):
        return f"{self.made}/zones/{zone}/{ORIGINS[zone]}.zone"

    def steering(self):
        with open(f"{self.made}/zones/steer/steering.json") as f:
            return json.load(f)

    def unsteered_head(self):
        """The lines of the steered zone that are not of a weighted name."""
        with open(self.zone_file("steer")) as f:
            return [line for line in f if " 60 A " not in line]


class Waypost(Server):
    name, steers = "waypost", "sticky pools, two sites"

    def __init__(self, made, binary):
        super().__init__(made)
        self.path = binary

    def binary(self):
        return self.path

    def version(self):
        return "Waypost " + self._version("--version")

    def config(self, zone, port, work, extra=""):
        out = [f'[server]\nname = "ns1.bench"\nlisten = ["127.0.0.1:{port}"]\nworkers = 1\nstate = "{work}/state"',
               f'[api]\nlisten = "127.0.0.1:{port + API}"',
               f'[[zone]]\nname = "{ORIGINS[zone]}"\nfile = "{self.zone_file(zone)}"', extra]
        if zone == "steer":
            s = self.steering()
            out.append('[[site]]\nname = "a"\n[[site]]\nname = "b"')
            for name, sites in s["names"].items():
                endpoints = ",\n".join(f'  {{ site = "{site}", address = ["{address}"], weight = {weight} }}'
                                       for site, (weight, address) in zip("ab", sites))
                out.append(f'[[pool]]\nname = "{name}.{s["origin"]}"\npolicy = "sticky"\n'
                           f'ttl = {{ normal = "{s["ttl"]}s", low = "30s" }}\nendpoint = [\n{endpoints},\n]')
        return write(f"{work}/waypost.toml", "\n\n".join(out))

    def command(self, zone, port, work):
        return [self.path, "serve", "--config", self.config(zone, port, work)]


class Nsd(Server):
    name = program = "nsd"

    def version(self):
        return "NSD " + self._version("-v")

    def command(self, zone, port, work):
        database = 'database: ""' if " 4.6" in self.version() else ""
        return [self.binary(), "-d", "-c", write(f"{work}/nsd.conf", f"""
server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  do-ip6: no
  username: ""
  zonesdir: "{work}"
  {database}
  logfile: "{work}/log"
  pidfile: "{work}/pid"
  xfrdfile: "{work}/xfrd"
  zonelistfile: "{work}/zonelist"
  xfrdir: "{work}"
  verbosity: 0
  hide-version: yes
  minimal-responses: yes
  round-robin: no
  tcp-count: 200
  tcp-query-count: 0
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  zonefiles-check: no
  zonefiles-write: 0
remote-control:
  control-enable: no
zone:
  name: {ORIGINS[zone]}
  zonefile: {self.zone_file(zone)}
""")]


class Knot(Server):
    name, program, steers = "knot", "knotd", "mod-geoip, mode weighted"

    def version(self):
        return "Knot DNS " + self._version("-V")

    def command(self, zone, port, work):
        module = use = ""
        if zone == "steer":
            s = self.steering()
            names = "".join(f"{name}.{s['origin']}:\n" + "".join(f"  - weight: {w}\n    A: {a}\n" for w, a in sites)
                            for name, sites in s["names"].items())
            geo = write(f"{work}/geo.conf", names)
            module = f"mod-geoip:\n  - id: w\n    config-file: {geo}\n    ttl: {s['ttl']}\n    mode: weighted\n"
            use = "    module: mod-geoip/w\n"
        return [self.binary(), "-c", write(f"{work}/knot.conf", f"""
server:
  rundir: "{work}"
  listen: 127.0.0.1@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  tcp-max-clients: 1000
log:
  - target: stderr
    any: error
database:
  storage: "{work}"
{module}
zone:
  - domain: {ORIGINS[zone]}
    file: "{self.zone_file(zone)}"
    storage: "{work}"
    semantic-checks: off
    journal-content: none
    zonefile-sync: -1
{use}
""")]


class Gdnsd(Server):
    name, program, steers = "gdnsd", "gdnsd", "plugin_weighted (DYNA)"

    def version(self):
        return "gdnsd " + self._version("-V", pattern=r"version (\S+)")

    def command(self, zone, port, work):
        for folder in ("zones", "run", "state"):
            os.makedirs(f"{work}/{folder}", exist_ok=True)
        plugins, target = "", f"{work}/zones/{ORIGINS[zone]}"
        if zone == "steer":
            s = self.steering()
            names = "".join(f"  {name} => {{ " + ", ".join(f"s{i} => [ {a}, {w} ]" for i, (w, a) in enumerate(sites))
                            + " }\n" for name, sites in s["names"].items())
            plugins = f"plugins => {{ weighted => {{ multi => false, service_types => up\n{names}}} }}\n"
            dynamic = "".join(f"{name} {s['ttl']} DYNA weighted!{name}\n" for name in s["names"])
            write(target, "".join(self.unsteered_head()) + dynamic)
        else:
            os.symlink(self.zone_file(zone), target)
        write(f"{work}/config", f"""
options => {{
  listen => [ 127.0.0.1:{port} ]
  udp_threads = 1
  tcp_threads = 1
  run_dir = {work}/run
  state_dir = {work}/state
  max_ncache_ttl = 300
  udp_recv_width = 64
  tcp_clients_per_thread = 1024
}}
{plugins}""")
        return [self.binary(), "-c", work, "start"]


class PowerDns(Server):
    name, program, steers = "pdns", "pdns_server", "LUA record, pickwrandom"

    def version(self):
        return "PowerDNS " + self._version("--version", pattern=r"Server (\d\S+)")

    def command(self, zone, port, work):
        zone_file = self.zone_file(zone)
        if zone == "steer":
            s = self.steering()
            rows = []
            for name, sites in s["names"].items():
                choices = ", ".join("{%d, '%s'}" % (w, a) for w, a in sites)
                rows.append(f"{name} {s['ttl']} IN LUA A \"pickwrandom({{{choices}}})\"\n")
            zone_file = write(f"{work}/zone", "".join(self.unsteered_head() + rows))
        write(f"{work}/named.conf", f'options {{ directory "{work}"; }};\n'
                                    f'zone "{ORIGINS[zone]}" {{ type master; file "{zone_file}"; }};\n')
        write(f"{work}/pdns.conf", f"""
launch=bind
bind-config={work}/named.conf
local-address=127.0.0.1
local-port={port}
socket-dir={work}
daemon=no
guardian=no
receiver-threads=1
distributor-threads=1
loglevel=0
log-dns-queries=no
disable-axfr=yes
cache-ttl=300
query-cache-ttl=300
negquery-cache-ttl=300
max-cache-entries=4000000
max-packet-cache-entries=4000000
enable-lua-records=shared
max-tcp-connections=200
max-tcp-transactions-per-conn=0
write-pid=no
security-poll-suffix=
webserver=no
api=no
""")
        return [self.binary(), f"--config-dir={work}"]


class Bind(Server):
    name, program = "bind", "named"

    def version(self):
        return "BIND " + self._version("-v", pattern=r"BIND (\d\S+)")

    def command(self, zone, port, work):
        return [self.binary(), "-f", "-4", "-n", "1", "-U", "1", "-c", write(f"{work}/named.conf", f"""
options {{
  directory "{work}";
  pid-file none;
  session-keyfile "{work}/session.key";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  recursion no;
  dnssec-validation no;
  empty-zones-enable no;
  minimal-responses yes;
  notify no;
  allow-transfer {{ none; }};
  zone-statistics none;
  querylog no;
  tcp-clients 400;
  version none;
}};
controls {{ }};
logging {{ category default {{ null; }}; category unmatched {{ null; }}; }};
zone "{ORIGINS[zone]}" {{ type primary; file "{self.zone_file(zone)}"; check-names ignore; }};
""")]


class UdpLimit(Server):
    """Not a name server: what the kernel's UDP costs when nothing is looked up."""
    name, tcp, answers = "limit-udp", False, False

    def binary(self):
        return f"{self.made}/tools/udp_echo"

    def command(self, zone, port, work):
        return [self.binary(), str(port), "64", "16"]


class TcpLimit(Server):
    """Not a name server: all that is pipelined, back in one send."""
    name, udp, answers = "limit-tcp", False, False

    def binary(self):
        return f"{self.made}/tools/tcp_echo"

    def command(self, zone, port, work):
        return [self.binary(), str(port), "16"]


def all_servers(made, waypost):
    peers = (Gdnsd, Nsd, Knot, Bind, PowerDns, UdpLimit, TcpLimit)
    return {s.name: s for s in [Waypost(made, waypost), *(peer(made) for peer in peers)]}
