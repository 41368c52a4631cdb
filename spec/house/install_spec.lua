local process = require "support.process"
local tree = require "support.tree"

local function run(command)
  command.limit = 60
  local output, status = process.run(command)
  assert(status == 0, table.concat(command, " ") .. " failed:\n" .. output)
  return output
end

describe("what is installed", function()
  local prefix
  setup(function()
    prefix = tree.folder() .. "/usr"
    run { "cmake", "--install", tree.build, "--prefix", prefix }
  end)

  -- What another program's C file and linker see, through pkg-config alone.
  local function compile(source, program, compiler)
    local file = assert(io.open(prefix .. "/" .. source, "w"))
    file:write '#include <lunarch.h>\nint main(void) { return lun_strerror(LUN_ELOST) == 0; }\n'
    file:close()
    local flags = run {
      "pkg-config", "--cflags", "--libs", "lunarch", env = { PKG_CONFIG_PATH = prefix .. "/lib/pkgconfig" },
    }
    local command = { compiler, "-Werror", "-o", prefix .. "/" .. program, prefix .. "/" .. source }
    for flag in flags:gmatch "%S+" do
      command[#command + 1] = flag
    end
    if tree.is_sanitized then command[#command + 1] = "-fsanitize=address,undefined" end
    run(command)
  end

  it("is a C library that a program finds by pkg-config", function()
    compile("a.c", "a", "gcc")
    run { prefix .. "/a", env = { LD_LIBRARY_PATH = prefix .. "/lib" } }
  end)

  it("is a library that shows its public names and no others", function()
    local foreign = {}
    for line in run({ "nm", "-D", "--defined-only", prefix .. "/lib/liblunarch.so" }):gmatch "[^\n]+" do
      local name = line:match "(%S+)$"
      if not name:match "^lun_" then foreign[#foreign + 1] = name end
    end
    assert.same({}, foreign)
  end)

  it("is a Lua module that any Lua 5.4 can load", function()
    local output = run {
      "lua5.4", "-e", 'print(type(require("lunarch").connect))',
      env = {
        LUA_PATH = prefix .. "/share/lua/5.4/?.lua;" .. prefix .. "/share/lua/5.4/?/init.lua;;",
        LUA_CPATH = prefix .. "/lib/lua/5.4/?.so;;",
      },
    }
    assert.equal("function\n", output)
  end)

  it("is a program that finds its own files and carries no gRPC", function()
    if not io.open(tree.program) then return pending "the program is not there yet" end
    run { prefix .. "/bin/lunarch", "--help", env = { LUA_PATH = false, LUA_CPATH = false } }
    local libraries = run { "readelf", "-d", prefix .. "/bin/lunarch" }
    assert.matches("liblua5.4", libraries)
    assert.not_matches("grpc", libraries)
  end)

  it("holds nothing of the build's paths to libraries", function()
    for _, name in ipairs { "lib/liblunarch.so", "lib/lua/5.4/lunarch/core.so" } do
      assert.not_matches("RUNPATH", (run { "readelf", "-d", prefix .. "/" .. name }))
    end
  end)
end)
