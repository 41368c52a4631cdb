rockspec_format = "3.0"
package = "lunarch"
version = "scm-1"
source = {
  -- For `luarocks make` in a checkout.
  url = "git+file://.",
}
description = {
  summary = "Sessions, locks and elections on etcd",
  detailed = [[
    A coordination runtime on etcd: sessions, mutexes and elections whose promises are stated and tested, for plain Lua,
    libuv (luv), cqueues and OpenResty. The core is C over gRPC and protobuf-c; this rock is the Lua module, for Lua 5.4
    and LuaJIT 2.1. Needs the development files of gRPC and protobuf-c, and protoc-c.]],
  license = "MIT",
}
-- Lua 5.4 and LuaJIT, which calls itself Lua 5.1. Plain Lua 5.1 is refused by its headers, in CMakeLists.txt.
dependencies = { "lua >= 5.1, ~= 5.2, ~= 5.3, < 5.5" }
external_dependencies = {
  GRPC = { header = "grpc/grpc.h" },
  ["PROTOBUF-C"] = { header = "protobuf-c/protobuf-c.h" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    LUNARCH_ROCK_INCDIR = "$(LUA_INCDIR)",
    LUNARCH_ROCK_CDIR = "$(LIBDIR)",
    LUNARCH_ROCK_LDIR = "$(LUADIR)",
  },
}
