-- What a script may be called, and call its globals; and those that are no settings.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"

local HANDLERS = [[
  function on_elected(term) print("on_elected " .. term.token) end
  function do_work() print "do_work" return 0.05 end
  function on_lost(_, reason) print("on_lost " .. reason) end
]]

describe("a script", function()
  local server, flags
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function()
    n = n + 1
    flags = { "--endpoints", server.endpoint, "--election", "/names/" .. n, "--name", "A", "--ttl", "10" }
  end)
  after_each(process.end_all)

  it("may call its globals like those of Lua", function()
    local child = script.start([[
      type, next, pairs, ipairs, table, string, error, select = "primary", 2, 3, 4, 5, 6, 7, 8
      setmetatable, getmetatable, tostring, tonumber, pcall, xpcall, math, rawget, rawset, coroutine, debug = nil
      function on_leader(leader) print("leader " .. (leader.value or "nobody")) end
      function health() return true end
      function on_reload() print "on_reload" end
    ]] .. HANDLERS, flags)
    child:wait_line "^do_work"
    child:wait_line "^leader A"
    child:signal "sighup"
    child:wait_line "^on_reload"
    child:signal "sigterm"
    child:wait_line "^on_lost stopping"
    assert.equal(0, child:wait_exit())
    assert.is_nil(child:find "ERROR")
  end)

  it("called like a module that it requires is not that module", function()
    local path = script.write([[print("cjson " .. type(require "cjson".encode))]], "cjson.lua")
    local folder = path:match "^(.*)/"
    for _, case in ipairs { { path, "/" }, { "cjson.lua", folder }, { "./cjson.lua", folder } } do
      local output, status = process.run { "lunarch", case[1], cwd = case[2] }
      assert.same({ "cjson function\n", 0 }, { output, status })
    end
    -- One of the user's beside it is found, a folder of that name, too.
    os.execute(("mkdir %s/cjson && echo 'return { encode = 5 }' > %s/cjson/init.lua"):format(folder, folder))
    assert.equal("cjson number\n", (process.run { "lunarch", path }))
    path = script.write("require 'nowhere'", "nowhere.lua")
    local output, status = process.run { "lunarch", path }
    assert.equal(1, status)
    assert.truthy(output:find("module 'nowhere' not found: " .. path .. " is the script itself", 1, true), output)
  end)

  it("that is a link finds modules beside itself, and beside the file that it leads to", function()
    local path = script.write("print((require 'helper'), (require 'other'))", "linked.lua")
    local folder = path:match "^(.*)/"
    os.execute(("mkdir %s/links && ln -s %s %s/links/started.lua"):format(folder, path, folder))
    tree.write(folder .. "/helper.lua", "return 'the helper'")
    tree.write(folder .. "/other.lua", "return 'of the file'")
    tree.write(folder .. "/links/other.lua", "return 'of the link'")
    for _, case in ipairs { { folder .. "/links/started.lua", "/" }, { "links/started.lua", folder } } do
      local output, status = process.run { "lunarch", case[1], cwd = case[2] }
      assert.same({ "the helper\tof the link\n", 0 }, { output, status })
    end
  end)

  it("is run whatever LUA_PATH and LUA_CPATH leave out", function()
    for _, value in ipairs { "", "/nowhere/?.lua", ";", "/nowhere/?.lua;;" } do
      local env = { LUA_PATH = value, LUA_CPATH = value, LUA_PATH_5_4 = value, LUA_CPATH_5_4 = value }
      local output, status = process.run { "lunarch", "-e", "print(type(require 'cjson'))", env = env }
      assert.same({ "table\n", 0 }, { output, status })
    end
  end)

  it("beside files that are called like libraries of ours, or in their folder, runs as elsewhere", function()
    local path = script.write [[print(require "own" .. " " .. type(require "luv".new_timer) .. " " .. require "cjson")]]
    local folder = path:match "^(.*)/"
    for _, name in ipairs { "luv", "argparse", "cjson", "own" } do
      tree.write(("%s/%s.lua"):format(folder, name), ("return '%s'"):format(name))
    end
    for _, case in ipairs { { "/", path }, { folder, "script.lua" }, { folder, path } } do
      local output, status = process.run { "sh", "-c", 'cd "$0" && exec "$1" "$2"', case[1], tree.program, case[2] }
      assert.same({ "own function cjson\n", 0 }, { output, status })
    end
    for _, command in ipairs { "check --endpoints " .. server.endpoint, "sim --seeds 1 --json" } do
      local output, status = process.run {
        "sh", "-c", 'cd "$0" && exec "$1" $2 script.lua', folder, tree.program, command,
      }
      assert.equal(0, status, output)
    end
  end)

  it("that has a global `priority` hears that there is no such setting", function()
    local output, status = script.run("priority = 10\n" .. HANDLERS, flags)
    assert.equal(2, status)
    assert.truthy(output:find("there is no setting 'priority': the candidate that has waited longest", 1, true), output)
  end)

  it("warns of a flag that stands in the script as a global", function()
    local child = script.start("listen = '127.0.0.1:1'\n" .. HANDLERS, flags)
    child:wait_line "WARN .*'listen' is no setting of a script: give the flag %-%-listen"
    child:wait_line "^on_elected"
  end)
end)
