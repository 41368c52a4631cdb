local floors = require "tools.floors"
local root = os.getenv "LUNARCH_ROOT"

describe("the law of the floors", function()
  it("is kept by every source", function()
    local found = floors.check(root)
    assert.equal("", table.concat(found, "\n"))
  end)

  local headers = {
    ["base/err.h"] = true, ["rpc/rpc.h"] = true, ["rpc/grpc.h"] = true, ["rpc/grpc/call.h"] = true,
    ["module/module.h"] = true, ["lab/play.h"] = true,
    ["sim/sim.h"] = true, ["etcd/kv.h"] = true, ["recipe/line.h"] = true, ["lunarch.h"] = true, ["attic/old.h"] = true,
  }
  local function trouble(path, target)
    return floors.trouble_with(path, target, function(name) return headers[name] end)
  end

  it("lets a file include lower floors and its own folder", function()
    assert.is_nil(trouble("recipe/line.c", "recipe/line.h"))
    assert.is_nil(trouble("recipe/line.c", "line.h"))
    assert.is_nil(trouble("recipe/line.c", "base/err.h"))
    assert.is_nil(trouble("recipe/line.c", "rpc/rpc.h"))
    assert.is_nil(trouble("client/client.c", "lunarch.h"))
    assert.is_nil(trouble("client/client.c", "rpc/grpc.h"))
    assert.is_nil(trouble("module/core.c", "lua.h"))
    assert.is_nil(trouble("base/err.c", "stdio.h"))
  end)

  it("lets both implementations of the seam include it", function()
    assert.is_nil(trouble("sim/sim.c", "rpc/rpc.h"))
    assert.is_nil(trouble("rpc/grpc/call.c", "rpc/rpc.h"))
  end)

  it("catches an include of a higher floor", function()
    assert.equal("floor 2 may not look at floor 3", trouble("etcd/kv.c", "recipe/line.h"))
    assert.matches("src/client and above", trouble("base/err.c", "lunarch.h"))
  end)

  it("catches an include of another folder on the same floor", function()
    assert.equal("floor 1 may not look at floor 1", trouble("rpc/rpc.c", "sim/sim.h"))
  end)

  it("catches gRPC, protobuf-c and Lua where they do not belong", function()
    assert.matches("only src/rpc", trouble("recipe/line.c", "grpc/grpc.h"))
    assert.matches("only src/rpc", trouble("host/main.c", "grpc/grpc.h"))
    assert.matches("which implementation", trouble("recipe/line.c", "rpc/grpc.h"))
    assert.matches("messages stay", trouble("recipe/line.c", "etcd.pb-c.h"))
    assert.matches("protobuf%-c stays", trouble("client/client.c", "protobuf-c/protobuf-c.h"))
    assert.matches("include Lua", trouble("client/client.c", "lua.h"))
    assert.is_nil(trouble("lab/play.h", "module/module.h"))
    assert.is_nil(trouble("lab/play.h", "sim/sim.h"))
    assert.matches("floor 5 may not look at floor 6", trouble("module/box.c", "lab/play.h"))
  end)

  it("catches a folder that has no floor", function()
    assert.matches("on no floor", trouble("attic/old.c", "base/err.h"))
    assert.matches("on no floor", trouble("client/client.c", "attic/old.h"))
  end)

  local modules = {
    ["lunarch"] = "lunarch/init.lua", ["resty.lunarch"] = "resty/lunarch.lua",
    ["lunarch.mutex"] = "lunarch/mutex.lua", ["lunarch.loop"] = "lunarch/loop/init.lua",
    ["lunarch.internal.args"] = "lunarch/internal/args.lua", ["lunarch.candidate"] = "lunarch/candidate/init.lua",
    ["lunarch.loop.nginx"] = "lunarch/loop/nginx/init.lua", ["lunarch.cli.log"] = "lunarch/cli/log.lua",
  }
  local function trouble_with_require(path, module)
    return floors.trouble_with_require(path, module, function(name) return modules[name] end)
  end

  it("lets a module require lower floors, its own folder, and what users require", function()
    assert.is_nil(trouble_with_require("lunarch/mutex.lua", "lunarch.loop"))
    assert.is_nil(trouble_with_require("lunarch/mutex.lua", "lunarch.internal.args"))
    assert.is_nil(trouble_with_require("lunarch/loop/init.lua", "lunarch.loop.nginx"))
    assert.is_nil(trouble_with_require("lunarch/init.lua", "lunarch.candidate"))
    assert.is_nil(trouble_with_require("lunarch/candidate/init.lua", "lunarch"))
    assert.is_nil(trouble_with_require("lunarch/console/init.lua", "lunarch.cli.log"))
    assert.is_nil(trouble_with_require("lunarch/loop/init.lua", "lunarch.core"))
  end)

  it("catches a require of a higher floor, and of a module that is not there", function()
    local pattern = "^floor %d may not look at floor %d$"
    assert.matches(pattern, trouble_with_require("lunarch/internal/args.lua", "lunarch.loop"))
    assert.matches(pattern, trouble_with_require("lunarch/mutex.lua", "lunarch.candidate"))
    assert.matches(pattern, trouble_with_require("lunarch/candidate/term.lua", "lunarch.cli.log"))
    assert.equal("there is no such module", trouble_with_require("lunarch/mutex.lua", "lunarch.args"))
  end)

  it("catches what users read when it requires a private module", function()
    assert.is_nil(trouble_with_require(nil, "lunarch"))
    assert.is_nil(trouble_with_require(nil, "resty.lunarch"))
    assert.matches("alone", trouble_with_require(nil, "lunarch.mutex"))
    assert.matches("alone", trouble_with_require(nil, "lunarch.core"))
  end)

  it("finds a violation in a real tree, with its file and line", function()
    local tree = os.tmpname()
    os.remove(tree)
    assert(os.execute(("mkdir %s && cd %s && mkdir -p src/base src/etcd lua/lunarch examples"):format(tree, tree)))
    for name, text in pairs {
      ["src/base/a.h"] = '\n# include "etcd/b.h"\n', ["src/etcd/b.h"] = '#include "base/a.h"\n',
      ["lua/lunarch/init.lua"] = 'local core = require "lunarch.core"\nlocal gone = require("lunarch.gone")\n',
      ["examples/one.lua"] = 'require "luv"\nlocal mutex = require "lunarch.mutex"\n',
    } do
      local file = assert(io.open(tree .. "/" .. name, "w"))
      file:write(text)
      file:close()
    end
    local found, count = floors.check(tree)
    os.execute("rm -r " .. tree)
    assert.equal(2, count)
    assert.same({
      "src/base/a.h:2: includes etcd/b.h: floor 0 may not look at floor 2",
      "lua/lunarch/init.lua:2: requires lunarch.gone: there is no such module",
      "examples/one.lua:2: requires lunarch.mutex: users require lunarch and resty.lunarch alone",
    }, found)
  end)
end)
