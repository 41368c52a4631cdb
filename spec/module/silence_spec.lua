-- A plain program whose etcd is not there says so, once, and goes on waiting.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"

describe("a plain program without an etcd", function()
  after_each(process.end_all)

  local function start(text)
    return process.start {
      "lua", script.write("local lunarch = require 'lunarch'\n" .. text),
      env = { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = false },
    }
  end

  it("says so on stderr, once, and goes on waiting", function()
    local child = start [[
      local client = lunarch.connect { endpoints = { "127.0.0.1:1" } }
      print(select(3, client:get("/x", nil, 7)))
      print(select(3, client:get("/x", nil, 4)))
    ]]
    local line = child:wait_line "no etcd answers"
    assert.truthy(line.text:find "^lunarch: no etcd answers at 127.0.0.1:1: .*refused.*; still waiting for it$")
    child:wait_line "^unavailable$"
    child:wait_line "^unavailable$"
    assert.equal(0, (child:wait_exit()))
    assert.equal(1, #child:find_all "no etcd answers")
  end)

  it("tells its own log instead, if it has one", function()
    local child = start [[
      local client = lunarch.connect {
        endpoints = { "127.0.0.1:1" }, log = function(level, message) print("log", level, message) end,
      }
      print(select(3, client:get("/x", nil, 7)))
    ]]
    child:wait_line "^log\twarn\tno etcd answers at 127.0.0.1:1: "
    assert.equal(0, (child:wait_exit()))
    assert.is_nil(child:find "^lunarch:")
  end)

  it("says nothing of an etcd that is there while it waits for a lock", function()
    local server = etcd.start()
    local child = start(([[
      local client = lunarch.connect { endpoints = %q }
      local other = client:session():mutex "/silence"
      assert(other:lock(5))
      local mine = lunarch.connect { endpoints = %q }
      print(select(3, mine:session():mutex("/silence"):lock(6)))
      local watch = lunarch.connect { endpoints = %q }
      print(select(3, watch:watch("/nothing"):next(5)))
    ]]):format(server.endpoint, server.endpoint, server.endpoint))
    assert.equal(0, (child:wait_exit()))
    assert.equal("timeout\ntimeout\n", child:output())
    server:stop()
  end)
end)
