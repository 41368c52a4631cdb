-- A TCP proxy that can misbehave, between us and one member of etcd. A process of its own, since the calls that depend
-- on it block. Every control call returns when it is in force, so that a spec can order events; none needs a loop.
--
--   local proxy = require("support.proxy").start(server.client_port)
--   proxy.endpoint                    "127.0.0.1:<port>", for us
--   proxy:go_silent()                 nothing passes, either way; connections stay open, new ones hang
--   proxy:hold_replies()              requests pass, replies wait for heal()
--   proxy:hold_requests()             the other way round
--   proxy:drop_replies()              requests pass, replies are swallowed (a new connection then hears nothing at all)
--   proxy:heal()                      all passes again: what was held is delivered, connections with a hole are closed
--   proxy:delay_replies(0.3)          each chunk 0.3 s late, in order; (0, 1.5): at random between; (0): no more
--   proxy:refuse() / proxy:accept()   new connections are refused; and again taken
--   proxy:cut()                       every connection is reset; new ones are welcome
--   proxy:last_request()              when the last bytes from us were let through; seconds, CLOCK_BOOTTIME (clock.lua)
--   proxy:renewals(lease)             when renewals (of that lease) were let through: { { t =, lease = }, ... }
--   proxy:stop()
local uv = require "luv"
local process = require "support.process"
local ports = require "support.ports"
local tree = require "support.tree"
local vm = require "support.vm"

local proxy = {}

require "support.sigpipe"

---@class Proxy
---@field endpoint string
---@field port integer
---@field pid integer
local Proxy = {}
Proxy.__index = Proxy

-- One line from the proxy; blocks.
function Proxy:read_line()
  while true do
    local line, rest = self.rest:match "^([^\n]*)\n(.*)$"
    if line then
      self.rest = rest
      return line
    end
    local data, err = uv.fs_read(self.from, 65536)
    if not data or data == "" then error("the proxy on port " .. self.port .. " has died: " .. tostring(err), 3) end
    self.rest = self.rest .. data
  end
end

function Proxy:read_answer()
  local verdict, text = self:read_line():match "^(%a+) (.*)$"
  if verdict ~= "ok" then error("the proxy refuses: " .. tostring(text), 3) end
  local lines = {}
  for i = 1, vm.integer(text) do
    lines[i] = self:read_line()
  end
  return lines
end

function Proxy:ask(...)
  assert(uv.fs_write(self.to, table.concat({ ... }, " ") .. "\n"))
  return self:read_answer()
end

function Proxy:go_silent() self:ask "hold" end

function Proxy:hold_replies() self:ask("hold", "replies") end

function Proxy:hold_requests() self:ask("hold", "requests") end

function Proxy:drop_replies() self:ask "drop" end

function Proxy:heal() self:ask "heal" end

---@param seconds number
---@param at_most? number then each chunk's delay is drawn between the two
function Proxy:delay_replies(seconds, at_most) self:ask("delay", seconds, at_most or seconds) end

function Proxy:refuse() self:ask "refuse" end

function Proxy:accept() self:ask "accept" end

---@return integer how many connections were cut
function Proxy:cut() return vm.integer(self:ask("cut")[1]) end

local function stats(self)
  local numbers = {}
  for number in self:ask("stats")[1]:gmatch "%d+" do
    numbers[#numbers + 1] = vm.integer(number)
  end
  return numbers
end

---@return number? seconds nil before the first
function Proxy:last_request()
  local ns = stats(self)[1]
  return ns > 0 and ns / 1e9 or nil
end

---@return number? seconds nil before the first
function Proxy:last_reply()
  local ns = stats(self)[2]
  return ns > 0 and ns / 1e9 or nil
end

---@return integer requests, integer replies chunks let through so far
function Proxy:chunks() return vm.unpack(stats(self), 3, 4) end

---@return integer
function Proxy:connections() return stats(self)[5] end

---@param lease? string 16 hex digits; ids outside [2^60, 2^63) are not recognised
---@return { t: number, lease: string }[]
function Proxy:renewals(lease)
  local found = {}
  for _, line in ipairs(self:ask "renewals") do
    local ns, id = line:match "^(%d+) (%x+)$"
    if not lease or id == lease then found[#found + 1] = { t = tonumber(ns) / 1e9, lease = id } end
  end
  return found
end

function Proxy:stop()
  if not self.pid then return end
  process.kill9(self.pid)
  uv.fs_close(self.to)
  uv.fs_close(self.from)
  self.pid = nil
end

---@param target_port integer on 127.0.0.1
---@param host? string the address to listen at, of our own; 127.0.0.1 where not said
---@return Proxy
function proxy.start(target_port, host)
  local port = ports.free()
  local to, from = uv.pipe(), uv.pipe()
  host = host or "127.0.0.1"
  local self = setmetatable({ port = port, endpoint = host .. ":" .. port, rest = "" }, Proxy)
  self.pid = process.spawn(
    { "lua5.4", tree.root .. "/spec/support/proxy_process.lua", port, target_port, host },
    tree.environment(), { to.read, from.write, 2 })
  uv.fs_close(to.read)
  uv.fs_close(from.write)
  self.to, self.from = to.write, from.read
  self:read_answer()
  return self
end

return proxy
