-- The way between one candidate and one member of etcd: a proxy on a port of its own, that can be cut and slowed down
-- without any privilege.
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local links = {}

local Link = {}
Link.__index = Link

local HOST = "127.0.0.1"
local BACKLOG = 128

local function close(handle)
  if handle and not handle:is_closing() then handle:close() end
end

local function end_pair(link, pair)
  link.pairs[pair] = nil
  close(pair.near)
  close(pair.far)
end

-- What was read goes on, later where the link is slow; in order.
local function pass_on(link, pair, to, data)
  local function send()
    if not link.pairs[pair] or to:is_closing() then return end
    to:write(data, function(trouble) if trouble then end_pair(link, pair) end end)
  end
  if link.slow_s <= 0 then return send() end
  local timer = uv.new_timer()
  timer:start(math.floor(link.slow_s * 1000), 0, function()
    close(timer)
    send()
  end)
end

local function read(link, pair, from, to)
  from:read_start(function(trouble, data)
    if trouble or not data then return end_pair(link, pair) end
    pass_on(link, pair, to, data)
  end)
end

local function join(link, pair)
  pair.far:connect(HOST, link.port_of_member, function(trouble)
    if trouble or not link.pairs[pair] then return end_pair(link, pair) end
    pair.is_joined = true
    if link.is_cut then return end
    read(link, pair, pair.near, pair.far)
    read(link, pair, pair.far, pair.near)
  end)
end

local function on_connection(link)
  local pair = { near = uv.new_tcp(), far = uv.new_tcp() }
  link.server:accept(pair.near)
  link.pairs[pair] = true
  pair.near:nodelay(true)
  pair.far:nodelay(true)
  -- While it is cut nothing answers: neither yes nor no.
  if not link.is_cut then join(link, pair) end
end

--- Nothing passes any more; or passes again, and connections that lived through the cut are closed.
function Link:set_cut(is_cut)
  if is_cut == self.is_cut then return end
  self.is_cut = is_cut
  for pair in pairs(self.pairs) do
    if is_cut then
      pair.near:read_stop()
      pair.far:read_stop()
    else
      end_pair(self, pair)
    end
  end
end

--- From now on everything takes so many seconds longer, each way.
function Link:set_slow(seconds)
  self.slow_s = seconds
end

--- A proxy to that port; its own is `link.port`.
function links.open(port_of_member)
  local self = setmetatable({ server = uv.new_tcp(), port_of_member = port_of_member, pairs = {}, slow_s = 0,
    is_cut = false }, Link)
  assert(self.server:bind(HOST, 0))
  assert(self.server:listen(BACKLOG, function(trouble) if not trouble then on_connection(self) end end))
  self.port = self.server:getsockname().port
  return self
end

return links
