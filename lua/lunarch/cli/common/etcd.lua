-- Where etcd is: the flags that say so, the environment, the script, in this order.
--
-- What flags say goes into the environment: there lunarch.connect() finds it, and so do programs that a script starts.
local args = require "lunarch.args"
local endpoints = require "lunarch.endpoints"

args.is_ours()

local etcd = {}

local function endpoints_of(text)
  if not endpoints.is_any(text) then return nil, ("--endpoints: '%s' contains no endpoint"):format(text) end
  return text
end

-- Flags that lunarch.connect() finds as variables: by the name that the parser gives them.
local CREDENTIALS = {
  user = "LUNARCH_USER", password_file = "LUNARCH_PASSWORD_FILE",
  cacert = "LUNARCH_CACERT", cert = "LUNARCH_CERT", key = "LUNARCH_KEY", server_name = "LUNARCH_SERVER_NAME",
  insecure_skip_tls_verify = "LUNARCH_INSECURE_SKIP_TLS_VERIFY",
}

local function user_of(text)
  if text:find(":", 1, true) then
    return nil, "--user: a password on the command line can be read by everybody on this machine: "
      .. "use --password-file or LUNARCH_PASSWORD"
  end
  return text
end

function etcd.define(parser)
  parser:option("--endpoints", "etcd's members, host:port,host:port (default: 127.0.0.1:2379)")
    :argname("LIST"):convert(endpoints_of)
  parser:flag("--dev", "use a private etcd: started on demand, gone after its last user; --dev=NAME: one of that name")
  parser:option("--dev-name"):hidden(true)
  parser:option("--cacert", "certificates of the authorities that etcd's certificate is checked against (PEM)")
    :argname "FILE"
  parser:option("--cert", "our own certificate, for an etcd that asks for one (PEM)"):argname "FILE"
  parser:option("--key", "the key of our certificate (PEM)"):argname "FILE"
  parser:option("--server-name", "the name in etcd's certificate, where it differs from the endpoint's")
    :argname "NAME"
  parser:option("--user", "one of etcd's users; its password is in --password-file or LUNARCH_PASSWORD")
    :argname("NAME"):convert(user_of)
  parser:option("--password-file", "a file whose first line is the user's password"):argname "FILE"
  parser:flag("--insecure-skip-tls-verify", "do not check etcd's certificate: for tests")
end

--- Words in which --dev=NAME stands as the parser takes it.
function etcd.rewrite(words)
  local found, is_over = {}, false
  for i, word in ipairs(words) do
    is_over = is_over or word == "--"
    found[i] = is_over and word or word:gsub("^%-%-dev=", "--dev-name=")
  end
  return found
end

--- What is wrong with the flags, or nil.
---@return string?
function etcd.trouble_in(flags)
  if flags.endpoints and (flags.dev or flags.dev_name) then
    return "--dev brings its own etcd: give either --dev or --endpoints"
  end
  return nil
end

local function join_dev(flags, log)
  local dev = require "lunarch.cli.dev"
  local found, trouble, status = dev.join(flags.dev_name)
  if not found then return nil, "--dev: " .. trouble, status end
  log.info("private etcd: etcdctl --endpoints %s get --prefix ''", found.endpoint)
  dev.watch(found, log)
  return found.endpoint
end

--- Finds etcd as the flags say, and puts it into the environment: the endpoints that flags have given, or false.
--- nil, what is wrong, exit status.
---@return string|false|nil, string?, integer? status
function etcd.find(flags, log)
  local uv = require "luv"
  local is_dev = flags.dev or flags.dev_name
  for flag, name in pairs(CREDENTIALS) do
    if flags[flag] then uv.os_setenv(name, flags[flag] == true and "1" or flags[flag]) end
  end
  local given = flags.endpoints
  if is_dev then
    local trouble, status
    given, trouble, status = join_dev(flags, log)
    if not given then return nil, trouble, status end
    for _, name in pairs(CREDENTIALS) do
      uv.os_unsetenv(name)
      uv.os_unsetenv((name:gsub("^LUNARCH_", "ETCDCTL_")))
    end
  end
  if given then uv.os_setenv("LUNARCH_ENDPOINTS", given) end
  return given or false
end

local function text_of(given)
  if type(given) == "table" then return table.concat(given, ",") end
  return tostring(given)
end

--- What a script's candidates connect to where no flag says so: nil leaves it to the environment, which wins over what
--- the script says in `endpoints`, and says so.
function etcd.of_script(given, log)
  local name, value = endpoints.variable()
  if not name then return given end
  if given ~= nil and text_of(given) ~= value then
    log.warn("etcd at %s, as %s in the environment says: the script's own endpoints (%s) are not used",
      value, name, text_of(given))
  end
  return nil
end

--- Whether nothing but the default says where etcd is.
function etcd.is_default(given)
  return given == nil and not endpoints.variable()
end

--- What may help where no etcd answers at the default address and none has answered yet.
etcd.HINT = " (--endpoints sets its address, --dev starts a private one)"

return etcd
