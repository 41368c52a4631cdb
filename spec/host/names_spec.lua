-- What a script may be called, and call its globals; and those that are no settings.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"

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
