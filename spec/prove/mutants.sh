#!/bin/sh
# Breaks the core on purpose, one patch of mutants/ at a time, and says by which seed and invariant that was caught.
#   mutants.sh [part of a name...]      LUNARCH_ROOT and LUNARCH_BUILD are set by ./dev
# Only what a patch touches is compiled anew, from a copy; src stays as it is. Status 1 when one got away.
set -eu
here=$LUNARCH_ROOT/spec/prove
work=$LUNARCH_BUILD/mutants
seeds=${SEEDS:-1..12000}
missed=0
caught=0
mkdir -p "$work"

try() { # PATCH NAME
    rm -rf "$work/tree"
    mkdir -p "$work/tree"
    cp -r "$LUNARCH_ROOT/src" "$work/tree/src"
    patch -s -p1 -d "$work/tree" <"$1" || return 2
    objects=
    for file in $(sed -n 's|^+++ b/\(src/[^[:space:]]*\.c\).*|\1|p' "$1"); do
        object=$work/$(basename "$file").o
        cc -std=gnu11 -D_GNU_SOURCE= -O2 -w -I"$work/tree/src" -I"$LUNARCH_BUILD/gen/proto" -c "$work/tree/$file" \
            -o "$object" || return 2
        objects="$objects $object"
    done
    # shellcheck disable=SC2086
    cc -o "$work/prove" $objects "$work/prove.o" "$LUNARCH_BUILD"/ar/libprove_support.a \
        "$LUNARCH_BUILD"/ar/liblunarch_sim.a "$LUNARCH_BUILD"/ar/liblunarch_core.a \
        "$LUNARCH_BUILD"/ar/liblunarch_proto.a "$LUNARCH_BUILD"/ar/liblunarch_base.a \
        -lgrpc -lgpr -lprotobuf-c -lpthread -lm || return 2
    "$work/prove" --quiet --seeds "$seeds" >"$work/said" 2>&1
}

cc -std=gnu11 -D_GNU_SOURCE= -O2 -I"$LUNARCH_ROOT/src" -I"$here" -c "$here/prove.c" -o "$work/prove.o"
for patch in "$here"/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    [ $# = 0 ] || case " $* " in *" $name "*) ;; *) continue ;; esac
    status=0
    try "$patch" || status=$?
    case $status in
    0) missed=$((missed + 1)); echo "MISSED  $name (seeds $seeds)" ;;
    1) caught=$((caught + 1)); echo "caught  $name: $(sed -n 's/^FAILED //p' "$work/said")" ;;
    *) missed=$((missed + 1)); echo "BROKEN  $name: the patch does not apply, or does not compile" ;;
    esac
done
echo "$caught caught, $missed not"
[ "$missed" = 0 ]
