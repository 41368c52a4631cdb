-- A network in which every answer comes late: a lock, a term and their session, held for a while through a proxy that
-- delays all that etcd says.
local clock = require "support.clock"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local proxies = require "support.proxy"
local tree = require "support.tree"
local users = require "support.users"

local slow = {}

local LOOK_S = 0.1

---@class SlowResult
---@field opened_s number from connect() to the session
---@field least_s number the least that was left before `valid_until`, ever
---@field trouble? string what was lost, and when

local function hold(session, mutex, term, seconds)
  local began, least = clock.now(), math.huge
  -- timing: how long it lasts
  while clock.now() - began < seconds do
    local valid_until = session.valid_until
    if not valid_until then return least, ("the session was lost (%s)"):format(tostring(session.reason)) end
    if not mutex:is_held() then return least, "the lock was lost" end
    if term:remaining() <= 0 then return least, "the leader was told to stop" end
    least = math.min(least, valid_until - lunarch.now())
    lunarch.sleep(LOOK_S)
  end
  return least
end

-- An etcd, and what its client is given besides the endpoint.
local function start(options)
  local pki = options.pki
  if options.life_s then
    local folder = tree.folder()
    tree.write(folder .. "/key", ("k"):rep(64)) -- HS256: the key is any file
    local kind = ("jwt,priv-key=%s/key,sign-method=HS256,ttl=%ds"):format(folder, options.life_s)
    local server = etcd.start { flags = { "--bcrypt-cost", "4", "--auth-token", kind } }
    users.add_root(server)
    users.add(server, "slow:secret", "slow", "readwrite", "/slow/")
    users.must(server, "auth", "enable")
    return server, { user = "slow:secret" }
  elseif not pki then
    return etcd.start(), {}
  end
  local own = { cacert = pki:path "ca.crt", cert = pki:path "alice.crt", key = pki:path "alice.key" }
  return etcd.start {
    tls = {
      cert = pki:path "server.crt", key = pki:path "server.key", cacert = own.cacert,
      wants_client = true, ctl_cert = own.cert, ctl_key = own.key,
    },
  }, own
end

-- Called in a task. `pki`: mutual TLS; `life_s`: users whose signed tokens live so long; neither: plaintext.
---@param options { delay_s: number, ttl: number, seconds: number, pki: table?, life_s: number? }
---@return SlowResult
function slow.run(options)
  local server, own = start(options)
  local proxy = proxies.start(server.client_port)
  proxy:delay_replies(options.delay_s)
  own.endpoints, own.log = proxy.endpoint, function() end
  local began = clock.now()
  local client = assert(lunarch.connect(own))
  local session = assert(client:session({ ttl = options.ttl }, 60))
  local result = { opened_s = clock.now() - began }
  local mutex = session:mutex "/slow/lock"
  assert(mutex:lock(60))
  local term = assert(session:election("/slow/election"):campaign("A", 60))
  result.least_s, result.trouble = hold(session, mutex, term, options.seconds)
  if not result.trouble then
    assert(mutex:unlock(30))
    assert(term:resign(30))
  end
  client:close(30)
  proxy:stop()
  server:stop()
  return result
end

function slow.line(options, result)
  return ("%s, answers %.1f s late, TTL %d: a session after %.1f s, held for %d s, never less than %.1f s left"):format(
    options.pki and "mutual TLS" or options.life_s and ("tokens of %d s"):format(options.life_s) or "plaintext",
    options.delay_s, options.ttl, result.opened_s, options.seconds, result.least_s)
end

return slow
