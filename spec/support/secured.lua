-- What the etcds of a spec file become where its row of the suite says so (`-- clusters: plain mtls` near the top of
-- the file; LUNARCH_SPEC_CLUSTER=mtls): three members, each client shows a certificate and is one of etcd's users. What
-- it takes to be let in stands in our environment as LUNARCH_*, and so in that of the programs a spec starts. Where one
-- spec alone wants it (the option is_secured), it is `cluster.credentials`, an environment for process.lua.
local pkis = require "support.pki"
local users = require "support.users"
local uv = require "luv"

local secured = {}

secured.SIZE = 3

local USER, PASSWORD = "spec", "a:b c"
-- The least that bcrypt takes: each Authenticate costs etcd 60 ms by default.
local FLAGS = { "--bcrypt-cost", "4" }

---@return boolean
function secured.is_wanted() return os.getenv "LUNARCH_SPEC_CLUSTER" == "mtls" end

local pki

local function certificates()
  if not pki then
    pki = pkis.usual()
    pki:leaf("ctl", "ca", { subject = "/CN=ctl" })
  end
  return pki
end

-- The same, of secured members.
---@param options table as support.etcd takes them
function secured.options(options)
  local made = certificates()
  local flags = {}
  for _, list in ipairs { options.flags or {}, FLAGS } do
    for _, flag in ipairs(list) do
      flags[#flags + 1] = flag
    end
  end
  local tls = {
    cert = made:path "server.crt", key = made:path "server.key", cacert = made:path "ca.crt", wants_client = true,
    ctl_cert = made:path "ctl.crt", ctl_key = made:path "ctl.key",
  }
  return setmetatable({ tls = tls, flags = flags }, { __index = options })
end

-- Names in the environment that a program without it (nginx) has to be given one by one.
secured.VARIABLES = { "LUNARCH_CACERT", "LUNARCH_CERT", "LUNARCH_KEY", "LUNARCH_USER", "LUNARCH_PASSWORD" }

local function credentials()
  return {
    LUNARCH_CACERT = pki:path "ca.crt", LUNARCH_CERT = pki:path "alice.crt", LUNARCH_KEY = pki:path "alice.key",
    LUNARCH_USER = USER, LUNARCH_PASSWORD = PASSWORD,
  }
end

-- Users of a cluster that serves, and authentication; etcdctl is root from then on.
function secured.close_doors(cluster)
  users.add_root(cluster)
  users.add(cluster, USER .. ":" .. PASSWORD, USER, "readwrite", "")
  users.must(cluster, "auth", "enable")
  cluster.options.ctl_user = users.ROOT
  cluster.credentials = credentials()
  if not secured.is_wanted() then return end
  for name, value in pairs(cluster.credentials) do
    uv.os_setenv(name, value)
  end
end

return secured
