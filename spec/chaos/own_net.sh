#!/bin/sh
# own_net.sh COMMAND...: runs it in a network namespace of its own, with LUNARCH_CHAOS_NET=own, where that is allowed and
# the kernel can do what wire.lua asks of it; elsewhere as it is.
set -eu

can_lay_wires() { # FLAGS OF UNSHARE...
    unshare "$@" sh -c 'ip link set lo up &&
        ip link add name wire0 type veth peer name wire &&
        tc qdisc add dev wire0 root tbf rate 8bit burst 10 latency 1ms &&
        unshare -n true && nsenter --net=/proc/self/ns/net true' >/dev/null 2>&1
}

for flags in "-n" "-r -n"; do
    # shellcheck disable=SC2086
    if can_lay_wires $flags; then
        LUNARCH_CHAOS_NET=own
        export LUNARCH_CHAOS_NET
        # shellcheck disable=SC2086,SC2016
        exec unshare $flags sh -c 'ip link set lo up && exec "$@"' sh "$@"
    fi
done
exec "$@"
