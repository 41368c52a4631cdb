-- Users of an etcd that has none: root (rootpw), and others with a role each.
--
--   users.add_root(server)
--   users.add(server, "alice:secret", "a", "readwrite", "/a/")   may do so with all keys of this prefix
--   users.must(server, "auth", "enable")                         etcdctl, which must succeed: its output
--   users.as_root(server, "auth", "disable")                     the same once authentication is on
local tree = require "support.tree"
local vm = require "support.vm"

local users = {}

users.ROOT = "root:rootpw"
local PATIENCE = "20s"

-- What etcdctl is given to be this user. A password that etcd checks takes it long on a busy machine.
---@param login string "name:password"
---@return string[]
function users.login(login)
  return { "--user=" .. login, "--dial-timeout=" .. PATIENCE, "--command-timeout=" .. PATIENCE }
end

local AS_ROOT = users.login(users.ROOT)

---@return string output
function users.must(server, ...)
  local output, ok = server:etcdctl(...)
  assert(ok, output)
  return output
end

---@return string output
function users.as_root(server, ...)
  local words = { vm.unpack(AS_ROOT) }
  for _, word in ipairs { ... } do
    words[#words + 1] = word
  end
  return users.must(server, vm.unpack(words))
end

function users.add_root(server)
  users.must(server, "user", "add", users.ROOT)
  users.must(server, "user", "grant-role", "root", "root")
end

---@param login string "name:password"
function users.add(server, login, role, right, prefix)
  users.must(server, "role", "add", role)
  users.must(server, "role", "grant-permission", role, right, "--prefix=true", prefix)
  users.must(server, "user", "add", login)
  users.must(server, "user", "grant-role", login:match "^[^:]*", role)
end

function users.change_password(server, name, password)
  local output, ok = vm.shell(("echo %s | %s 2>&1"):format(password, tree.quote {
    tree.etcdctl, "--endpoints=" .. server.endpoint, AS_ROOT[1], AS_ROOT[2], AS_ROOT[3], "user", "passwd", name,
    "--interactive=false",
  }))
  assert(ok, output)
end

-- The option `tls` of an etcd whose clients show certificates, and etcdctl that of root.
function users.tls(pki)
  pki:leaf("root", "ca", { subject = "/CN=root" })
  return {
    cert = pki:path "server.crt", key = pki:path "server.key", cacert = pki:path "ca.crt", wants_client = true,
    ctl_cert = pki:path "root.crt", ctl_key = pki:path "root.key",
  }
end

return users
