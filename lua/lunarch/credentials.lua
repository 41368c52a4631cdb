-- How a client proves who it is, and which servers it trusts: options of connect(), else the environment.
local args = require "lunarch.args"
local each = require "lunarch.each"

args.is_ours()

local credentials = {}

credentials.OPTIONS = {
  cacert = args.word, cert = args.word, key = args.word, server_name = args.word,
  insecure_skip_tls_verify = args.boolean,
  user = args.word, password = args.word, password_file = args.word,
}

-- Where an option stands in the environment: LUNARCH_<name>, then ETCDCTL_<name>.
local VARIABLES = {
  cacert = "CACERT", cert = "CERT", key = "KEY", server_name = "SERVER_NAME",
  insecure_skip_tls_verify = "INSECURE_SKIP_TLS_VERIFY",
  user = "USER", password = "PASSWORD", password_file = "PASSWORD_FILE",
}

local function from_environment(variable)
  for _, prefix in ipairs { "LUNARCH_", "ETCDCTL_" } do
    local value = os.getenv(prefix .. variable)
    if value and value ~= "" then return value end
  end
end

local function is_true(text)
  return text ~= "0" and text ~= "false"
end

-- The first line: editors end files with a newline.
local function read_password(path)
  local file, message = io.open(path)
  if not file then return nil, "password_file " .. message end
  local password = file:read "*l"
  file:close()
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

-- What is given, as the core takes it; or nil and why it cannot be used. A password beside or inside the option `user`
-- counts before one in the environment.
---@param options table checked by credentials.OPTIONS
---@return table? found, string? message
function credentials.of(options)
  local found = {}
  for option in each(credentials.OPTIONS) do
    found[option] = options[option]
  end
  if found.user then split_user(found) end
  local has_password = found.password or found.password_file
  for option, variable in each(VARIABLES) do
    local is_settled = has_password and (option == "password" or option == "password_file")
    if found[option] == nil and not is_settled then found[option] = from_environment(variable) end
  end
  if type(found.insecure_skip_tls_verify) == "string" then
    found.insecure_skip_tls_verify = is_true(found.insecure_skip_tls_verify)
  end
  if found.user then split_user(found) end
  if found.user and not found.password and found.password_file then
    local password, message = read_password(found.password_file)
    if not password then return nil, message end
    found.password = password
  end
  return found
end

return credentials
