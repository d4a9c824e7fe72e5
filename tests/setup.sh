#!/bin/sh
# Installs what the tests need from Debian's packages: as root, or with sudo. Otherwise says what is missing, and fails.
# Starts nothing: the packages' services stay off, the tests run the programs themselves.
set -eu

missing=
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
need cc gcc
need dig bind9-dnsutils
need kdig knot-dnsutils
need ip iproute2
need iperf3 iperf3
need nft nftables
need openssl openssl
need strace strace
need curl curl
need haproxy haproxy
need nginx nginx-light
need rinetd rinetd
need unbound unbound
need nsd-checkzone nsd
need knotd knot
need named bind9
need dnssec-verify bind9-utils
need dnssec-keygen bind9-utils
need ldns-verify-zone ldnsutils
need keymgr knot
need delv bind9-dnsutils
need dnsviz dnsviz
need zonemaster-cli zonemaster-cli
need prometheus prometheus
/usr/bin/python3 -c "import grpc" 2>/dev/null || missing="$missing python3-grpcio"
need pebble pebble
need lego lego
need certbot certbot
[ -d /usr/lib/python3/dist-packages/certbot_dns_rfc2136 ] || missing="$missing python3-certbot-dns-rfc2136"
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then as=; elif command -v sudo >/dev/null 2>&1; then as=sudo; else
	echo "the tests need these Debian packages; as root: apt-get install$missing" >&2
	exit 1
fi
echo "installing what the tests need:$missing"
policy=/usr/sbin/policy-rc.d # says "don't start" to the packages' scripts
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $as tee $policy >/dev/null
	$as chmod 755 $policy
	trap '$as rm -f $policy' EXIT
fi
$as apt-get update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as apt-get install -y -q --no-install-recommends $missing
