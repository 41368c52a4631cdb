-- Certificates for specs, made by the openssl program: authorities, servers, clients.
--
--   local pki = require("support.pki").new()
--   pki:authority "ca"                                  pki.folder .. "/ca.crt", ca.key
--   pki:leaf("server", "ca", { subject = "/CN=etcd", names = "DNS:localhost,IP:127.0.0.1" })
--   pki:leaf("alice", "ca", { subject = "/CN=alice" })  a client's
--   pki:leaf("old", "ca", { names = ..., is_expired = true })
--   pki:path "server.crt"   pki:text "server.crt"       where it is; what is in it
local tree = require "support.tree"
local vm = require "support.vm"

local Pki = {}
Pki.__index = Pki

local function run(pki, script, ...)
  local command = ("cd '%s' && %s 2>&1 </dev/null"):format(pki.folder, script:format(...))
  local output, ok = vm.shell(command)
  assert(ok, "openssl: " .. output)
end

local function new_key(pki, name)
  run(pki, "openssl ecparam -name prime256v1 -genkey -noout -out %s.sec", name)
  run(pki, "openssl pkcs8 -topk8 -nocrypt -in %s.sec -out %s.key", name, name)
end

function Pki:path(file) return self.folder .. "/" .. file end

function Pki:text(file) return tree.read(self:path(file)) end

function Pki:authority(name)
  new_key(self, name)
  run(self, "openssl req -x509 -new -key %s.key -subj '/CN=%s' -days 3650 -addext %s -out %s.crt", name, name,
    "keyUsage=critical,keyCertSign,cRLSign", name)
end

local EXPIRED = "-startdate 20200101000000Z -enddate 20210101000000Z"
local CONFIG = [[
[ca]
default_ca=d
[d]
database=%s/index
serial=%s/serial
new_certs_dir=%s
default_md=sha256
policy=p
unique_subject=no
default_days=3650
[p]
commonName=optional
]]

function Pki:leaf(name, authority, options)
  options = options or {}
  new_key(self, name)
  local extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
  if options.names then extensions = extensions .. "subjectAltName=" .. options.names .. "\n" end
  tree.write(self:path(name .. ".ext"), extensions)
  run(self, "openssl req -new -key %s.key -subj '%s' -out %s.csr", name, options.subject or "/CN=" .. name, name)
  run(self,
    "openssl ca -batch -notext -config ca.cnf -keyfile %s.key -cert %s.crt %s -in %s.csr -out %s.crt -extfile %s.ext",
    authority, authority, options.is_expired and EXPIRED or "", name, name, name)
end

local pki = {}

function pki.new()
  local new = setmetatable({ folder = tree.folder() }, Pki)
  tree.write(new:path "index", "")
  tree.write(new:path "index.attr", "")
  tree.write(new:path "serial", "1000\n")
  tree.write(new:path "ca.cnf", CONFIG:format(new.folder, new.folder, new.folder))
  return new
end

-- An authority, a server of this machine, and a client: what most specs need.
function pki.usual()
  local new = pki.new()
  new:authority "ca"
  new:leaf("server", "ca", { subject = "/CN=etcd", names = "DNS:localhost,IP:127.0.0.1,IP:::1" })
  new:leaf("alice", "ca", { subject = "/CN=alice" })
  return new
end

return pki
