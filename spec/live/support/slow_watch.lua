-- A client that does nothing but watch, of three members that are all far away: each behind a proxy that delays what it
-- says.
local clock = require "support.clock"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local proxies = require "support.proxy"
local scene = require "live.support.scene"

local slow_watch = {}

local READY_S = 60

---@class SlowWatchResult
---@field ready_s number from connect() to a watch that is there
---@field replaced integer streams that were left or broke afterwards
---@field longest_s number from a write to its event, at the most

local function options_of(cluster)
  local given = cluster.credentials or {}
  return {
    cacert = given.LUNARCH_CACERT, cert = given.LUNARCH_CERT, key = given.LUNARCH_KEY, user = given.LUNARCH_USER,
    password = given.LUNARCH_PASSWORD, only_given_endpoints = true, endpoints = {}, log = function() end,
  }
end

-- Called in a task.
---@param options { delay_s: number, events: integer, pause_s: number, is_secured: boolean }
---@return SlowWatchResult
function slow_watch.run(options)
  local cluster = etcd.cluster(3, { is_secured = options.is_secured })
  local near, far, delayed = options_of(cluster), options_of(cluster), {}
  near.endpoints = cluster.endpoints
  for i, member in ipairs(cluster.members) do
    delayed[i] = proxies.start(member.client_port)
    delayed[i]:delay_replies(options.delay_s)
    far.endpoints[i] = delayed[i].endpoint
  end
  local admin, began = assert(lunarch.connect(near)), clock.now()
  local client = assert(lunarch.connect(far))
  local watch = assert(client:watch "/slow/watched")
  assert(watch:ready(READY_S))
  local result = { ready_s = clock.now() - began, longest_s = 0 }
  local before = client:stats().streams_replaced
  for i = 1, options.events do
    lunarch.sleep(options.pause_s)
    local written = clock.now()
    assert(admin:put("/slow/watched", tostring(i), nil, scene.LIMIT))
    local event = assert(watch:next(scene.LIMIT))
    assert(event.value == tostring(i), "an event is missing")
    result.longest_s = math.max(result.longest_s, clock.now() - written)
  end
  result.replaced = client:stats().streams_replaced - before
  client:close(scene.LIMIT)
  admin:close(5)
  for _, one in ipairs(delayed) do
    one:stop()
  end
  cluster:stop()
  return result
end

function slow_watch.line(options, result)
  return ("%s, three members, answers %.1f s late: a watch is there after %.1f s; events at most %.1f s late, %d "
    .. "streams replaced"):format(options.is_secured and "mutual TLS" or "plaintext", options.delay_s, result.ready_s,
    result.longest_s, result.replaced)
end

return slow_watch
