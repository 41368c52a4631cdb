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

  local VMS = { ["5.4"] = "lua5.4", ["5.1"] = tree.build .. "/unit/luajit" }

  for version, program in pairs(VMS) do
    it("is a Lua module that Lua " .. version .. " can load", function()
      local share = prefix .. "/share/lua/" .. version
      local output = run {
        program, "-e", 'print(_VERSION, type(require("lunarch").connect), package.loaded["lunarch.core"].version)',
        env = {
          LUA_PATH_5_4 = false, LUA_PATH = share .. "/?.lua;" .. share .. "/?/init.lua;;",
          LUA_CPATH_5_4 = false, LUA_CPATH = prefix .. "/lib/lua/" .. version .. "/?.so;;",
        },
      }
      assert.matches("^Lua " .. version .. "\tfunction\t%d+%.%d+%.%d+\n$", output)
    end)

    it("is a module for Lua " .. version .. " that brings no second VM into the process", function()
      local dynamic = run { "readelf", "-d", prefix .. "/lib/lua/" .. version .. "/lunarch/core.so" }
      assert.not_matches("NEEDED[^\n]*lua", dynamic)
      assert.matches("NODELETE", dynamic)
    end)
  end

  it("refuses to load in the wrong VM, and says so", function()
    local output, status = process.run {
      "lua5.4", "-e", 'require "lunarch.core"',
      env = { LUA_CPATH_5_4 = prefix .. "/lib/lua/5.1/?.so" },
    }
    assert.equal(1, status)
    assert.matches("undefined symbol", output)
  end)

  it("is a program that finds its own files and carries no gRPC", function()
    if not io.open(tree.program) then return pending "the program is not there yet" end
    run { prefix .. "/bin/lunarch", "--help", env = { LUA_PATH_5_4 = false, LUA_CPATH_5_4 = false } }
    local libraries = run { "readelf", "-d", prefix .. "/bin/lunarch" }
    assert.matches("liblua5.4", libraries)
    assert.not_matches("grpc", libraries)
  end)

  it("has a manual page that names every flag of the program", function()
    local page = tree.read(prefix .. "/share/man/man1/lunarch.1"):gsub("\\%-", "-")
    local n = 0
    for flag in run({ "lunarch", "help", "run" }):gmatch "\n +[%-%w, ]-(%-%-[%w%-]+)" do
      n = n + 1
      assert.is_truthy(page:find(flag, 1, true), "lunarch.1 does not name " .. flag)
    end
    assert.is_true(n > 10)
  end)

  it("holds nothing of the build's paths to libraries", function()
    for _, name in ipairs { "lib/liblunarch.so", "lib/lua/5.4/lunarch/core.so", "lib/lua/5.1/lunarch/core.so" } do
      assert.not_matches("RUNPATH", (run { "readelf", "-d", prefix .. "/" .. name }))
    end
  end)

  it("is a program that plays scripts in its simulator", function()
    local script = prefix .. "/script.lua"
    local file = assert(io.open(script, "w"))
    file:write "election = '/e'\nfunction do_work() end\n"
    file:close()
    local output = run { prefix .. "/bin/lunarch", "sim", script, "--seeds", "1..2" }
    assert.matches("2 histories of 3 candidates: nothing went wrong", output)
  end)
end)
