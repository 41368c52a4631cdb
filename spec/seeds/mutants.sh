#!/bin/sh
# Breaks the core on purpose, one patch of mutants/ at a time, and says by which seed and invariant that was caught.
#   mutants.sh [--known | --record] [part of a name...]      LUNARCH_ROOT and LUNARCH_BUILD are set by ./dev
# The seed that caught it last time (the file known_seeds) is tried first; then those of $SEEDS. --known: that one alone.
# --record: the file known_seeds is written anew, which has to be done when histories have changed.
# A patch may begin with a line "with WHAT": what its histories have besides (prove --with WHAT), where ordinary ones seldom do;
# or with "unit TEST": a story that no history comes to by chance is told by that unit test, spec/unit/*/TEST.c, which must fail.
# Only what a patch touches is compiled anew, from a copy; src stays as it is. Status 1 when one got away.
set -eu
here=$LUNARCH_ROOT/spec/seeds
work=$LUNARCH_BUILD/mutants
seeds=${SEEDS:-1..30000}
mode=
case ${1:-} in --known | --record) mode=$1 && shift ;; esac
if [ "$mode" = --record ] && [ $# != 0 ]; then
    echo "mutants.sh: --record writes down the seeds of all mutants: name none" >&2
    exit 2
fi
missed=0
caught=0
mkdir -p "$work"

compile() { # SOURCE OBJECT [FLAGS...]
    source=$1
    object=$2
    shift 2
    cc -std=gnu11 -D_GNU_SOURCE= -O1 -w "$@" -I"$work/tree/src" -I"$LUNARCH_BUILD/gen/proto" -c "$source" -o "$object"
}

make_mutant() { # PATCH
    rm -rf "$work/tree"
    mkdir -p "$work/tree"
    cp -r "$LUNARCH_ROOT/src" "$work/tree/src"
    patch -s -F0 -p1 -d "$work/tree" <"$1" || return 1
    files=$(sed -n 's|^+++ b/\(src/[^[:space:]]*\.c\).*|\1|p' "$1" | sort -u)
    set --
    for file in $files; do
        object=$work/$(echo "$file" | tr / _).o
        compile "$work/tree/$file" "$object" || return 1
        set -- "$@" "$object"
    done
    main=$work/prove.o
    if [ -n "$unit" ]; then
        main=$work/unit.o
        source=$(echo "$LUNARCH_ROOT"/spec/unit/*/"$unit.c")
        compile "$source" "$main" -I"$LUNARCH_ROOT/spec/unit" -I"$(dirname "$source")" || return 1
    fi
    cc -o "$work/mutant" "$@" "$main" "$LUNARCH_BUILD"/ar/libunit_support.a "$LUNARCH_BUILD"/ar/libprove_support.a \
        "$LUNARCH_BUILD"/ar/liblunarch_sim.a "$LUNARCH_BUILD"/ar/liblunarch_core.a \
        "$LUNARCH_BUILD"/ar/liblunarch_proto.a "$LUNARCH_BUILD"/ar/liblunarch_base.a \
        -lgrpc -lgpr -lprotobuf-c -lpthread -lm
}

is_caught_by() { # SEEDS
    status=0
    # shellcheck disable=SC2086
    "$work/mutant" --quiet ${with:+--with $with} --seeds "$1" >"$work/said" 2>&1 || status=$?
    [ $status = 1 ]
}

# The first story that fails is named.
is_caught_by_unit() {
    if "$work/mutant" >"$work/log" 2>&1; then return 1; fi
    story=$(sed -n '/^not ok /{s/^not ok \([^:]*\):.*/\1/p;q;}' "$work/log")
    echo "FAILED unit $unit: ${story:-it crashes}" >"$work/said"
}

is_caught() { # NAME
    if [ -n "$unit" ]; then
        is_caught_by_unit
        return
    fi
    known=$(sed -n "s/^$1 \([0-9]*\) .*/\1/p" "$here/known_seeds")
    if [ -n "$known" ] && is_caught_by "$known"; then return 0; fi
    [ "$mode" != --known ] && is_caught_by "$seeds"
}

is_wanted() { # NAME PART...
    name=$1
    shift
    [ $# = 0 ] && return 0
    for part; do
        case $name in *"$part"*) return 0 ;; esac
    done
    return 1
}

cc -std=gnu11 -D_GNU_SOURCE= -O1 -I"$LUNARCH_ROOT/src" -I"$here" -c "$here/prove.c" -o "$work/prove.o"
echo "# mutant, the seed that catches it, the invariant, what --with; or unit, and its test: written by ./dev prove --mutants --record" >"$work/seeds"
for patch in "$here"/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    is_wanted "$name" "$@" || continue
    with=$(sed -n '1s/^with //p' "$patch")
    unit=$(sed -n '1s/^unit //p' "$patch")
    if ! make_mutant "$patch"; then
        missed=$((missed + 1))
        echo "BROKEN  $name: the patch does not apply, or does not compile"
    elif is_caught "$name"; then
        caught=$((caught + 1))
        echo "caught  $name: $(sed -n 's/^FAILED //p' "$work/said")"
        sed -n "s/^FAILED seed \([0-9]*\) \([a-z_]*\):.*/$name \1 \2${with:+ $with}/p
            s/^FAILED unit \([a-z_]*\):.*/$name unit \1/p" "$work/said" >>"$work/seeds"
    else
        missed=$((missed + 1))
        if [ "$mode" = --known ]; then
            echo "MISSED  $name by the seed of the file known_seeds: ./dev prove --mutants --record finds another"
        else
            echo "MISSED  $name (seeds $seeds)"
        fi
    fi
done
echo "$caught caught, $missed not"
if [ $((caught + missed)) = 0 ]; then
    echo "mutants.sh: no mutant is called *$1*: see $here/mutants" >&2
    exit 2
fi
if [ "$mode" = --record ]; then cp "$work/seeds" "$here/known_seeds"; fi
[ "$missed" = 0 ]
