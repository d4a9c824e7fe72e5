#!/bin/sh
# Installs what dns.py and forward.py compare, from Debian's packages. As root; starts nothing.
set -eu
if [ ! -e /usr/sbin/policy-rc.d ]; then # keeps the packages from starting anything
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y --no-install-recommends gcc libc6-dev python3 nsd knot knot-module-geoip gdnsd pdns-server \
    pdns-backend-bind bind9 rinetd haproxy nginx libnginx-mod-stream socat systemd iperf3
