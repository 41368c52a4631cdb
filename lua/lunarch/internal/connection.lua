-- How a client proves who it is, which servers it trusts, and which part of the keys is its own: options of connect(),
-- else the environment. The program's flags are made of the same table.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"

args.is_ours()

local connection = {}

-- Each with the name of its value on the command line (none: it is no flag) and what help says of it. In the
-- environment it is LUNARCH_<NAME>, then ETCDCTL_<NAME> unless etcdctl has no such thing (`is_ours`). Where etcd is
-- (`is_address`) is found by endpoints.lua.
connection.ROWS = {
  { name = "discovery_srv", check = args.word, value = "DOMAIN", is_address = true,
    help = "ask DNS for etcd's members: the SRV records of _etcd-client._tcp.DOMAIN; over TLS _etcd-client-ssl" },
  { name = "discovery_srv_name", check = args.word, value = "NAME", is_address = true,
    help = "of several clusters in one domain: _etcd-client-NAME._tcp.DOMAIN" },
  { name = "prefix", check = args.word, value = "TEXT", is_ours = true,
    help = "see, watch and write only keys below this one, and know them without it: \"/team-a\"" },
  { name = "cacert", check = args.word, value = "FILE",
    help = "certificates of the authorities that etcd's certificate is checked against (PEM)" },
  { name = "cert", check = args.secret, value = "FILE",
    help = "our own certificate, for an etcd that asks for one (PEM)" },
  { name = "key", check = args.secret, value = "FILE", help = "the key of our certificate (PEM)" },
  { name = "server_name", check = args.word, value = "NAME",
    help = "the name in etcd's certificate, where it differs from the endpoint's" },
  { name = "user", check = args.secret, value = "NAME",
    help = "one of etcd's users; its password is in --password-file or LUNARCH_PASSWORD" },
  { name = "password", check = args.secret },
  { name = "password_file", check = args.word, value = "FILE",
    help = "a file whose first line is the user's password" },
  { name = "insecure_skip_tls_verify", check = args.boolean, value = false,
    help = "do not check etcd's certificate: for tests" },
  { name = "only_given_endpoints", check = args.boolean, value = false, is_ours = true,
    help = "use no member of etcd but those given; by default others are learnt from etcd's list of members" },
}

-- By name, as args.options takes them.
connection.OPTIONS = {}
for _, row in ipairs(connection.ROWS) do
  connection.OPTIONS[row.name] = row.check
end

--- The variables in which an option may stand: the first that is set counts.
---@return string, string?
function connection.variables(row)
  return "LUNARCH_" .. row.name:upper(), not row.is_ours and "ETCDCTL_" .. row.name:upper() or nil
end

local function variable_of(name)
  local value = name and os.getenv(name)
  return value ~= "" and value or nil
end

--- What the environment says of an option; nil: nothing.
---@return string?
function connection.from_environment(row)
  local first, second = connection.variables(row)
  return variable_of(first) or variable_of(second)
end

-- What another program may see of a variable: false where it is a password or a key, of "name:password" the name.
local function shown_to_others(row, value)
  if row.name == "password" or value:find("PRIVATE KEY", 1, true) then return false end
  return row.name == "user" and value:match "^([^:]*):" or value
end

--- Changes of the environment for a command of ours, as lunarch.exec takes them: no secret is handed on with it, unless
--- `changes` do so by name. Returns a table of its own.
---@param changes? table<string, string|number|false>
---@return table<string, string|number|false>
function connection.without_secrets(changes)
  local found = {}
  for _, row in ipairs(connection.ROWS) do
    for _, name in ipairs { connection.variables(row) } do
      local value = os.getenv(name)
      local shown = value and shown_to_others(row, value)
      if shown ~= value then found[name] = shown end
    end
  end
  for name, value in each(changes or {}) do
    found[name] = value
  end
  return found
end

local function is_true(text)
  return text ~= "0" and text ~= "false"
end

-- The first line: editors end files with a newline.
local function read_password(path)
  local file, message = io.open(path)
  if not file then return nil, "password_file " .. message end
  local password, wrong = file:read "*l"
  file:close()
  if wrong then return nil, "password_file " .. path .. ": " .. wrong end
  if not password or password == "" then return nil, "password_file " .. path .. ": is empty" end
  return password
end

-- "name:password" is both, as etcdctl has it, unless a password is given beside it.
local function split_user(found)
  local user, password = found.user:match "^([^:]+):(.*)$"
  if user and not found.password then
    found.user, found.password = user, password
  end
end

local function given_in(options)
  local found = {}
  for name in each(connection.OPTIONS) do
    found[name] = options[name]
  end
  return found
end

--- Those of `options` that are about the connection, the endpoints and the client's name among them: for whatever takes
--- such options and connects by itself.
---@return table
function connection.pick(options)
  local found = given_in(options)
  found.endpoints, found.name = options.endpoints, options.name
  return found
end

-- What is given, as the core takes it; or nil and why it cannot be used. A password beside or inside the option `user`
-- counts before one in the environment.
---@param options table checked by connection.OPTIONS
---@return table? found, string? message
function connection.of(options)
  local found = given_in(options)
  if found.user then split_user(found) end
  local has_password = found.password or found.password_file
  for _, row in ipairs(connection.ROWS) do
    local is_settled = has_password and (row.name == "password" or row.name == "password_file")
    if found[row.name] == nil and not is_settled and not row.is_address then
      found[row.name] = connection.from_environment(row)
    end
  end
  for _, row in ipairs(connection.ROWS) do
    local value = found[row.name]
    if row.check == args.boolean and type(value) == "string" then found[row.name] = is_true(value) end
  end
  if found.user then split_user(found) end
  if found.user and not found.password and found.password_file then
    local password, message = read_password(found.password_file)
    if not password then return nil, message end
    found.password = password
  end
  return found
end

return connection
