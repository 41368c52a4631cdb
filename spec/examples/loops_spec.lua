-- vms: lua5.4 luajit
-- clusters: plain mtls
-- The examples that mix our calls with sockets of their own, under each loop, on each VM.
local etcd = require "support.etcd"
local ports = require "support.ports"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"
local wait = require "support.wait"

-- Sends lines to the port, and gives what came back once there are as many lines, or the other side has closed.
local function talk(port, lines, n_expected)
  local socket, text, is_over = uv.new_tcp(), "", false
  socket:connect("127.0.0.1", port, function(err)
    assert(not err, err)
    socket:write(lines)
    socket:read_start(function(_, data)
      text = text .. (data or "")
      local _, n = text:gsub("\n", "")
      is_over = data == nil or n >= n_expected
    end)
  end)
  wait.eventually(function() return is_over end, nil, "an answer from port " .. port)
  socket:close()
  uv.run "nowait"
  return text
end

local function run(words)
  local output, status = process.run(words)
  assert.equal(0, status, output)
  return output
end

describe("the example", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  for _, loop in ipairs { "luv", "cqueues" } do
    it("loops/" .. loop .. ".lua serves its sockets while it stands, leads, and asks who leads", function()
      local script = tree.root .. "/examples/loops/" .. loop .. ".lua"
      local function start(name)
        local port = ports.free()
        return process.start { "lua", script, port, name, server.endpoint }, port
      end
      local a, a_port = start "A"
      a:wait_line "A: leads, token %d+"
      local b, b_port = start "B"
      b:wait_line "B: listens"
      assert.equal("A\n", talk(a_port, "who\n", 1))
      assert.equal("A\nwhat?\nA\n", (talk(b_port, "who\n", 1) .. talk(b_port, "why\n", 1) .. talk(b_port, "who\n", 1)))
      talk(a_port, "stop\n", 99)
      assert.equal(0, (a:wait_exit()), a:output())
      b:wait_line "B: leads, token %d+"
      assert.equal("B\n", talk(b_port, "who\n", 1))
      talk(b_port, "stop\n", 99)
      assert.equal(0, (b:wait_exit()), b:output())
      assert.equal("", (server:etcdctl("get", "--prefix", "/examples/loops", "--keys-only")))
    end)
  end

  it("trylock.lua needs no program but the VM", function()
    local output = run { "lua", tree.root .. "/examples/trylock.lua", env = { LUNARCH_ENDPOINTS = server.endpoint } }
    assert.matches("web%-2: nil, locked by web%-1.* %(locked%)", output)
    assert.matches("web%-2: now I have it, token %d+", output)
  end)

  it("txn_lock.lua needs no program but the VM", function()
    local output = run { "lua", tree.root .. "/examples/txn_lock.lua", env = { LUNARCH_ENDPOINTS = server.endpoint } }
    assert.matches("B: taken\n$", output)
  end)

  it("patient.lua runs on " .. vm.program:match "[^/]*$", function()
    local output = run { "lua", tree.root .. "/examples/patient.lua", env = { LUNARCH_ENDPOINTS = server.endpoint } }
    assert.matches("all 20 had their turn", output)
  end)
end)
