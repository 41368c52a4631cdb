-- examples/vip on three hosts in network namespaces. From outside: never two hosts that have the address.
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"

local EXAMPLE = tree.root .. "/examples/vip/lan.sh"
local NAMES = { "a", "b", "c" }

local Play = {}
Play.__index = Play

local function lan(self, ...)
  local output, status = process.run { EXAMPLE, env = self.env, ... }
  assert(status == 0, output)
  return output
end

function Play:leader()
  local leader, n = nil, 0
  local holders = lan(self, "who")
  for i, name in ipairs(NAMES) do
    if holders:find(name) then leader, n = i, n + 1 end
  end
  if n > 1 then self.found[#self.found + 1] = "the address on " .. holders:gsub("\n", " ") end
  return leader
end

function Play:is_whole()
  local output = vm.shell(("nsenter --net=/run/netns/%s-etcd env ETCDCTL_API=3 %s --endpoints 192.0.2.4:2379 "
    .. "get --prefix --keys-only /examples/vip/"):format(self.env.LAN, tree.etcdctl or "etcdctl"))
  return select(2, output:gsub("/examples/vip/%x", "")) == #NAMES
end

function Play:troubles() return self.found end

function Play:stop()
  for _, host in ipairs(self.hosts) do
    host.child:kill9()
  end
  lan(self, "down")
end

local Host = {}
Host.__index = Host

function Host:kill() self.child:kill9() end
function Host:freeze() process.freeze(self.child.pid) end
function Host:thaw() process.thaw(self.child.pid) end
function Host:cut() lan(self.play, "cut", self.name) end
function Host:heal() lan(self.play, "heal", self.name) end
function Host:start() self.child = process.start { EXAMPLE, "run", self.name, env = self.play.env } end

return function()
  local env = {
    LAN = ("vip%d"):format(uv.os_getpid()), LUNARCH = tree.program, ETCD = os.getenv "ETCD" or "etcd",
    TMPDIR = tree.folder(),
  }
  local self = setmetatable({ env = env, hosts = {}, found = {} }, Play)
  lan(self, "up")
  for i, name in ipairs(NAMES) do
    self.hosts[i] = setmetatable({ name = name, play = self }, Host)
    self.hosts[i]:start()
  end
  return self
end
