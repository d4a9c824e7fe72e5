#!/usr/bin/env python3
"""Make the benchmark zones and the query files that match them.

    zones.py FOLDER

The seed is fixed, so every run and every machine gets the same bytes. Only the
standard library is used. What it writes:

  real/real.example.zone   about 10,000 names: A, AAAA, MX, TXT, SRV, CNAME,
                           wildcards, delegations with glue, empty non-terminals
  real/queries.txt         200,000 queries for it, popularity skewed (Zipf 0.9),
                           15 % NXDOMAIN with fresh random labels, 10 % 0x20 case
  steer/steer.example.zone www and 1,000 names p0000..p0999, two A records each
                           (for servers that cannot steer)
  steer/steering.json      the same names with their weights, for servers that can
  steer/hot.txt            one query: www.steer.example A
  steer/many.txt           100,000 queries over the 1,000 names
  big/big.example.zone     1,000,000 names, one A record each
  big/queries.txt          500,000 queries for it, uniform, 5 % NXDOMAIN
"""
import json
import os
import random
import sys
from bisect import bisect
from itertools import accumulate

SEED = 20261121
N_BIG = 1_000_000


def soa(origin):
    return (f"$ORIGIN {origin}.\n$TTL 300\n"
            f"@ 3600 IN SOA ns1 hostmaster 2026112100 7200 900 1209600 300\n"
            f"@ 3600 IN NS ns1\n@ 3600 IN NS ns2\n"
            f"ns1 3600 IN A 192.0.2.1\nns2 3600 IN A 192.0.2.2\n")


def v4(r):
    return f"10.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}"


def v6(r):
    return "2001:db8:" + ":".join(f"{r.randrange(1, 65536):x}" for _ in range(6))


def label(r, lo=4, hi=12):
    return "".join(r.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(r.randint(lo, hi)))


def mixed_case(r, s):
    return "".join(c.upper() if r.random() < 0.5 else c for c in s)


def real(d):
    r = random.Random(SEED)
    origin = "real.example"
    out = [soa(origin)]
    out.append("@ A 192.0.2.80\n@ AAAA 2001:db8::80\n@ MX 10 mail1\n@ MX 20 mail2\n"
               "@ TXT \"v=spf1 include:_spf.real.example -all\"\n"
               "mail1 A 192.0.2.25\nmail1 AAAA 2001:db8::25\nmail2 A 192.0.2.26\n"
               "www A 192.0.2.80\nwww A 192.0.2.81\nwww AAAA 2001:db8::80\n")
    seen = set()

    def fresh(suffix=""):
        while True:
            n = label(r) + suffix
            if n not in seen:
                seen.add(n)
                return n
    hosts, hosts6, mx, txt, srv, cn, wild, deleg = [], [], [], [], [], [], [], []
    for i in range(6000):
        # a quarter sit deeper, under a few departments: empty non-terminals
        n = fresh(f".dept{i % 40}.corp") if i % 4 == 0 else fresh()
        hosts.append(n)
        for _ in range(1 if r.random() < 0.8 else r.randint(2, 4)):
            out.append(f"{n} A {v4(r)}\n")
        if r.random() < 0.4:
            hosts6.append(n)
            out.append(f"{n} AAAA {v6(r)}\n")
    for _ in range(800):
        n = fresh()
        mx.append(n)
        out.append(f"{n} MX 10 mail1\n{n} MX 20 mail2\n{n} TXT \"v=spf1 mx -all\"\n")
    for _ in range(700):
        n = fresh()
        txt.append(n)
        out.append(f"{n} TXT \"k={label(r, 20, 60)}\"\n")
    for _ in range(200):
        n = "_sip._tcp." + fresh()
        srv.append(n)
        out.append(f"{n} SRV 10 60 5060 {r.choice(hosts)}\n")
    for _ in range(1500):
        n = fresh()
        cn.append(n)
        out.append(f"{n} CNAME {r.choice(hosts)}\n")
    for i in range(100):
        n = fresh()
        wild.append(n)
        out.append(f"*.{n} A {v4(r)}\n")
    for _ in range(500):
        n = fresh()
        deleg.append(n)
        out.append(f"{n} NS ns1.{n}\n{n} NS ns2.{n}\n"
                   f"ns1.{n} A {v4(r)}\nns2.{n} A {v4(r)}\nns2.{n} AAAA {v6(r)}\n")
    os.makedirs(d, exist_ok=True)
    with open(f"{d}/{origin}.zone", "w") as f:
        f.writelines(out)

    def zipf(items, s=0.9):
        items = items[:]
        r.shuffle(items)
        cum = list(accumulate(1 / (i + 1) ** s for i in range(len(items))))
        return lambda: items[bisect(cum, r.random() * cum[-1])]
    z = {k: zipf(v) for k, v in dict(h=hosts, h6=hosts6, mx=mx, txt=txt, srv=srv,
                                     cn=cn, w=wild, d=deleg).items()}
    kinds = [
        (38, lambda: (z["h"](), "A")),
        (3, lambda: ("www", "A")),
        (8, lambda: (z["h6"](), "AAAA")),
        (7, lambda: (z["h"](), "AAAA")),                 # many of these: NODATA
        (4, lambda: (z["mx"](), "MX")),
        (4, lambda: (z["txt"](), "TXT")),
        (1, lambda: (z["srv"](), "SRV")),
        (7, lambda: (z["cn"](), "A")),
        (5, lambda: (label(r) + "." + z["w"](), "A")),   # wildcard
        (6, lambda: (label(r, 2, 6) + "." + z["d"](), "A")),  # referral
        (1, lambda: ("", "MX")),
        (1, lambda: (f"dept{r.randrange(40)}.corp", "A")),    # empty non-terminal
        (11, lambda: (label(r, 14, 20), "A")),           # NXDOMAIN
        (4, lambda: (label(r, 14, 20) + f".dept{r.randrange(40)}.corp", "A")),
    ]
    cum = list(accumulate(k for k, _ in kinds))
    assert cum[-1] == 100, cum[-1]
    with open(f"{d}/queries.txt", "w") as f:
        for _ in range(200_000):
            n, t = kinds[bisect(cum, r.random() * 100)][1]()
            q = f"{n}.{origin}" if n else origin
            if r.random() < 0.10:
                q = mixed_case(r, q)
            f.write(f"{q} {t}\n")


def steer(d):
    r = random.Random(SEED + 1)
    origin = "steer.example"
    os.makedirs(d, exist_ok=True)
    names = {"www": [[80, "192.0.2.10"], [20, "198.51.100.10"]]}
    for i in range(1000):
        w = r.choice([(50, 50), (80, 20), (90, 10), (99, 1), (60, 40)])
        names[f"p{i:04d}"] = [[w[0], f"10.1.{i // 250}.{i % 250 + 1}"],
                              [w[1], f"10.2.{i // 250}.{i % 250 + 1}"]]
    with open(f"{d}/{origin}.zone", "w") as f:
        f.write(soa(origin))
        for n, sites in names.items():
            for _, a in sites:
                f.write(f"{n} 60 A {a}\n")
    with open(f"{d}/steering.json", "w") as f:
        json.dump({"origin": origin, "ttl": 60, "names": names}, f, indent=0)
    with open(f"{d}/hot.txt", "w") as f:
        f.write(f"www.{origin} A\n" * 64)
    with open(f"{d}/many.txt", "w") as f:
        for _ in range(100_000):
            f.write(f"p{r.randrange(1000):04d}.{origin} A\n")


def big(d, n=N_BIG):
    r = random.Random(SEED + 2)
    origin = "big.example"
    os.makedirs(d, exist_ok=True)
    with open(f"{d}/{origin}.zone", "w") as f:
        f.write(soa(origin))
        for i in range(n):
            f.write(f"h{i:07d} A 10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}\n")
    with open(f"{d}/queries.txt", "w") as f:
        for _ in range(500_000):
            x = r.randrange(n) if r.random() < 0.95 else n + r.randrange(n)
            f.write(f"h{x:07d}.{origin} A\n")


def main():
    out = sys.argv[1]
    real(f"{out}/real")
    steer(f"{out}/steer")
    big(f"{out}/big")
    with open(f"{out}/.made", "w") as f:
        f.write(f"{SEED}\n")


if __name__ == "__main__":
    main()
