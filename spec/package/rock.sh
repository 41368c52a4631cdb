#!/bin/sh
# Builds the rock from what is committed or changed here, for Lua 5.4 and LuaJIT, into a tree of its own, and requires
# it; plain Lua 5.1, which looks like LuaJIT to LuaRocks, is refused: ./dev package --try.
set -eu

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lunarch-rock-XXXXXX")
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*" >&2; }
die() { say "package: $*"; exit 1; }

cd "$ROOT"
mkdir "$WORK/source"
cp -r CMakeLists.txt CHANGELOG.md README.md LICENSE lunarch-scm-1.rockspec src lua proto examples "$WORK/source"
cd "$WORK/source"
unset LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4

rock() { # LUA-VERSION PROGRAM VARIABLE...
    version=$1 program=$2
    shift 2
    luarocks --lua-version "$version" --tree "$WORK/tree" make lunarch-scm-1.rockspec "$@" >"$WORK/log" 2>&1 || {
        tail -n 40 "$WORK/log" >&2
        die "luarocks failed for Lua $version"
    }
    rm -rf build.luarocks
    said=$(LUA_PATH="$WORK/tree/share/lua/$version/?.lua;$WORK/tree/share/lua/$version/?/init.lua" \
        LUA_CPATH="$WORK/tree/lib/lua/$version/?.so" \
        "$program" -e 'print(_VERSION, require("lunarch")._VERSION)') || die "the rock does not load in $program"
    say "ok    the rock: $said"
}

# refused WORD LUA-VERSION [VARIABLE...]: LuaRocks builds nothing, and what it says has the word.
refused() {
    word=$1 version=$2
    shift 2
    luarocks --lua-version "$version" --tree "$WORK/tree" make lunarch-scm-1.rockspec "$@" >"$WORK/log" 2>&1 &&
        die "luarocks built it for Lua $version: $*"
    rm -rf build.luarocks
    grep -q "$word" "$WORK/log" || {
        tail -n 40 "$WORK/log" >&2
        die "luarocks did not say '$word' for Lua $version"
    }
    say "ok    the rock: plain Lua $version is refused"
}

# What plain Lua 5.1 has in its header, and LuaJIT too; luajit.h is not beside it.
mkdir "$WORK/plain"
echo '#define LUA_VERSION_NUM 501' >"$WORK/plain/lua.h"
refused "for Lua 5.4 and LuaJIT 2.1" 5.1 LUA_INCDIR="$WORK/plain"

rock 5.4 lua5.4
rock 5.1 "$ROOT/build/dev/unit/luajit" LUA_INCDIR="$(pkg-config --variable=includedir luajit)"
