-- Many sessions that take turns in a few lines (holders_program.lua) while something is done to etcd, over TLS or with
-- users: certificates that are replaced, tokens that live for seconds, members that fail one after the other.
local etcd = require "support.etcd"
local json = require "cjson"
local partition = require "live.support.partition"
local pkis = require "support.pki"
local process = require "support.process"
local tree = require "support.tree"
local users = require "support.users"
local uv = require "luv"
local wait = require "support.wait"

local holders = {}

---@class Holders
local Holders = {}
Holders.__index = Holders

---@param endpoints string[]
---@param options table sessions, clients, ttl, lines, pause, fresh (as its arguments), env
---@return Holders
function holders.start(endpoints, options)
  local words = {
    "lua5.4", tree.root .. "/spec/live/support/holders_program.lua", options.sessions, options.clients, options.ttl,
    options.lines, options.pause or 0, options.fresh or 0,
  }
  for _, endpoint in ipairs(endpoints) do
    words[#words + 1] = endpoint
  end
  words.env, words.stdin = options.env, true
  local child = process.start(words)
  child:wait_line("^ready$", 2 * wait.LIMIT)
  return setmetatable({ child = child }, Holders)
end

-- Ends it in order; what it counted, and every trouble it saw, its own end among them.
---@return table result, string[] troubles
function Holders:finish()
  self.child:close_stdin()
  local status, signal = self.child:wait_exit(5 * wait.LIMIT)
  local troubles, result = {}, {}
  for _, line in ipairs(self.child:lines()) do
    local trouble = line.text:match "^trouble: (.*)"
    if trouble then troubles[#troubles + 1] = trouble end
    if line.text:find "^{" then result = json.decode(line.text) end
  end
  if status ~= 0 or signal ~= 0 or not self.child:find "^over$" then
    troubles[#troubles + 1] = ("ended with status %d, signal %d: %s"):format(status, signal,
      self.child:output():sub(-2000))
  end
  return result, troubles
end

-- In a few words.
function holders.line_of(result)
  return ("%d sessions, %d lost; %d turns and %d locks by fresh clients, %d failed, %d overlaps; longest wait %.1f s; "
    .. "least left of a session %.1f s"):format(result.sessions or 0, result.lost or -1, result.turns or 0,
    result.fresh or 0, result.failed or -1, result.overlaps or -1, result.longest_wait_s or -1, result.least_s or -1)
end

-- Lets `seconds` pass; `fn`, if any, is called every `every` of them.
local function go_on(seconds, every, fn)
  local until_s = uv.hrtime() / 1e9 + seconds
  local n = 0
  while uv.hrtime() / 1e9 < until_s do
    wait.pass(math.min(every, seconds))
    n = n + 1
    if fn and uv.hrtime() / 1e9 < until_s then fn(n) end
  end
  return n
end

-- ---- certificates that are replaced -----------------------------------------------------------------------------

local PAIRS = 4

-- A certificate and its key in a folder of each generation, and a name that leads to the one of now, as Kubernetes and
-- certbot do it: certificate and key change together.
local function change_link(pki, name, generation)
  local target = ("%s.%d"):format(name, generation)
  assert(uv.fs_symlink(target, pki:path "new"))
  assert(os.rename(pki:path "new", pki:path(name)))
end

-- Each file by itself, the key last: for a moment they are of two pairs.
local function copy_pair(pki, name, generation)
  for _, kind in ipairs { "crt", "key" } do
    tree.write(pki:path "copied", pki:text(("%s.%d/tls.%s"):format(name, generation, kind)))
    assert(os.rename(pki:path "copied", pki:path(("%s/tls.%s"):format(name, kind))))
  end
end

local function make_pairs(pki, name, options)
  for i = 1, PAIRS do
    local made = ("%s-%d"):format(name, i)
    pki:leaf(made, "ca", options)
    assert(uv.fs_mkdir(pki:path(("%s.%d"):format(name, i)), 448))
    for _, kind in ipairs { "crt", "key" } do
      assert(os.rename(pki:path(made .. "." .. kind), pki:path(("%s.%d/tls.%s"):format(name, i, kind))))
    end
  end
end

-- Mutual TLS; the server's and the client's certificates are replaced every `every` seconds.
---@return table result, string[] troubles
function holders.through_certificates(options)
  local pki = pkis.new()
  pki:authority "ca"
  make_pairs(pki, "server", { subject = "/CN=etcd", names = "IP:127.0.0.1" })
  make_pairs(pki, "client", { subject = "/CN=client" })
  assert(uv.fs_mkdir(pki:path "server", 448))
  copy_pair(pki, "server", 1)
  change_link(pki, "client", 1)
  pki:leaf("ctl", "ca", { subject = "/CN=ctl" })
  local server = etcd.start {
    tls = {
      cert = pki:path "server/tls.crt", key = pki:path "server/tls.key", cacert = pki:path "ca.crt",
      wants_client = true, ctl_cert = pki:path "ctl.crt", ctl_key = pki:path "ctl.key",
    },
  }
  options.env = {
    LUNARCH_CACERT = pki:path "ca.crt", LUNARCH_CERT = pki:path "client/tls.crt",
    LUNARCH_KEY = pki:path "client/tls.key", LUNARCH_USER = false, LUNARCH_PASSWORD = false,
  }
  local running = holders.start({ server.endpoint }, options)
  local n = go_on(options.seconds, options.every, function(i)
    copy_pair(pki, "server", i % PAIRS + 1)
    change_link(pki, "client", i % PAIRS + 1)
  end)
  local result, troubles = running:finish()
  result.replaced = n
  server:stop()
  tree.remove(pki.folder)
  return result, troubles
end

-- ---- tokens that live for seconds -------------------------------------------------------------------------------

local function jwt_flags(life_s)
  local folder = tree.folder()
  local keys = "cd '%s' && (openssl genrsa -out key 2048 && openssl rsa -in key -pubout -out pub) 2>/dev/null"
  assert(os.execute(keys:format(folder)))
  return {
    "--auth-token", ("jwt,pub-key=%s/pub,priv-key=%s/key,sign-method=RS256,ttl=%ds"):format(folder, folder, life_s),
  }
end

local function start_with_tokens(kind, options)
  local flags = kind == "jwt" and jwt_flags(options.life) or { "--auth-token-ttl", tostring(options.life) }
  -- The least: a token is asked for every other second by each client, and each costs etcd 60 ms of CPU by default.
  table.insert(flags, "--bcrypt-cost")
  table.insert(flags, "4")
  local server = etcd.start { flags = flags }
  users.add_root(server)
  users.add(server, "holder:secret", "holder", "readwrite", "/holders/")
  users.must(server, "auth", "enable")
  options.env = { LUNARCH_USER = "holder:secret", LUNARCH_PASSWORD = false }
  return server, holders.start({ server.endpoint }, options)
end

-- Tokens live for options.life seconds: those of an etcd of simple ones, and of another of signed ones (JWT), side by
-- side. What each came to.
---@return { kind: string, result: table, troubles: string[] }[]
function holders.through_tokens(options)
  local all = {}
  for i, kind in ipairs { "simple", "jwt" } do
    all[i] = { kind = kind }
    all[i].server, all[i].running = start_with_tokens(kind, options)
  end
  go_on(options.seconds, 1)
  for _, one in ipairs(all) do
    one.result, one.troubles = one.running:finish()
    one.server:stop()
  end
  return all
end

-- ---- members that fail one after the other ----------------------------------------------------------------------

local faults = {}

-- Each lasts `seconds`, and leaves all members running.
function faults.stopped(_, member, seconds)
  member:freeze()
  wait.pass(seconds)
  member:thaw()
end

function faults.killed(_, member, seconds)
  member:kill9()
  wait.pass(seconds)
  member:restart { no_wait = true }
end

function faults.cut_off(cluster, member, seconds)
  cluster:isolate(member)
  wait.pass(seconds)
  cluster:join()
end

-- The leader makes another one lead.
function faults.handed_on(cluster, member, seconds)
  local leader = cluster:leader()
  local heir = member ~= leader and member or cluster:followers()[1]
  local id = cluster:etcdctl("member", "list"):match("(%x+), started, " .. heir.name .. ",")
  -- Refused where the heir lags behind just then: nothing happens.
  leader:etcdctl("move-leader", tostring(id))
  wait.pass(seconds)
end

local FAULTS = { "stopped", "killed", "cut_off", "handed_on" }

-- Three members, mutual TLS and users, an election timeout of 300 ms; one member after the other fails for a moment.
---@return table result, string[] troubles
function holders.through_faults(options)
  local cluster = partition.cluster(3, { is_secured = true, election_ms = 300, heartbeat_ms = 30 })
  options.env = cluster.credentials
  local running = holders.start(cluster.endpoints, options)
  local counts = {}
  local n = go_on(options.seconds, options.every, function()
    local name = FAULTS[math.random(#FAULTS)]
    counts[name] = (counts[name] or 0) + 1
    faults[name](cluster, cluster.members[math.random(#cluster.members)], 0.5 + 2 * math.random())
  end)
  local result, troubles = running:finish()
  cluster:stop()
  result.faults, result.counts = n, counts
  return result, troubles
end

return holders
