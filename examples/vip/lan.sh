#!/bin/sh
# lan.sh - three hosts and a network to try vip.lua in: network namespaces on one machine (root; iproute2, arping, ping,
# nsenter, etcd).
#
#   lan.sh up              makes the hosts a, b and c, and a fourth with etcd
#   lan.sh run HOST        runs vip.lua on a host, in the foreground
#   lan.sh who             which hosts have the address
#   lan.sh cut HOST        pulls its cable out; heal HOST puts it back
#   lan.sh down            ends all of it
#
# LAN names the namespaces, ETCD and LUNARCH the programs.
set -eu
LAN=${LAN:-vip}
ETCD=${ETCD:-etcd}
LUNARCH=${LUNARCH:-lunarch}
HERE=$(cd "$(dirname "$0")" && pwd)
RUN=${TMPDIR:-/tmp}/lan-$LAN
HOSTS="a b c"

# Not by "ip -n" or "ip netns exec": they mount /sys anew, which is refused in a chroot.
in_net() { echo "nsenter --net=/run/netns/$LAN-$1"; }

plug_in() { # host, its number
    ip netns add "$LAN-$1"
    $(in_net lan) ip link add name "$1" type veth peer name eth0 netns "$LAN-$1"
    $(in_net lan) ip link set dev "$1" master br0 up
    $(in_net "$1") ip addr add "192.0.2.$2/24" dev eth0
    $(in_net "$1") ip link set lo up
    $(in_net "$1") ip link set eth0 up
}

case "${1:-}" in
run | who | cut | heal | ping)
    [ -e "/run/netns/$LAN-lan" ] || { echo "lan.sh: there are no hosts yet: lan.sh up" >&2; exit 1; }
    ;;
esac

case "${1:-}" in
up)
    mkdir -p "$RUN"
    ip netns add "$LAN-lan"
    $(in_net lan) ip link add br0 type bridge
    $(in_net lan) ip link set br0 up
    n=0
    for host in $HOSTS etcd; do
        n=$((n + 1))
        plug_in "$host" "$n"
    done
    $(in_net etcd) "$ETCD" --data-dir "$RUN/data" --listen-client-urls http://192.0.2.4:2379 \
        --advertise-client-urls http://192.0.2.4:2379 --listen-peer-urls http://127.0.0.1:2380 >"$RUN/log" 2>&1 </dev/null &
    echo $! >"$RUN/etcd.pid"
    ;;
run)
    host=$2
    shift 2
    VIP=192.0.2.100/24 VIP_DEVICE=eth0 exec $(in_net "$host") "$LUNARCH" run "$HERE/vip.lua" --name "$host" \
        --endpoints 192.0.2.4:2379 "$@"
    ;;
who)
    for host in $HOSTS; do
        $(in_net "$host") ip -o addr show dev eth0 to 192.0.2.100 | grep -q . && echo "$host"
    done || true
    ;;
cut) $(in_net lan) ip link set dev "$2" down ;;
heal) $(in_net lan) ip link set dev "$2" up ;;
ping) $(in_net etcd) ping -c 1 -W 1 192.0.2.100 ;;
down)
    [ ! -f "$RUN/etcd.pid" ] || kill "$(cat "$RUN/etcd.pid")" || true
    for host in $HOSTS etcd lan; do
        ip netns del "$LAN-$host" 2>/dev/null || true
    done
    rm -rf "$RUN"
    ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
