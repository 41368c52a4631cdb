-- Where etcd is: the flags that say so, the environment, the script, in this order.
--
-- What flags say goes into the environment: there lunarch.connect() finds it, and so do programs that a script starts.
local args = require "lunarch.internal.args"
local connection = require "lunarch.internal.connection"
local endpoints = require "lunarch.internal.endpoints"
local host = require "lunarch.host"

args.is_ours()

local etcd = {}

local function endpoints_of(text)
  if not endpoints.is_any(text) then return nil, ("--endpoints: '%s' contains no endpoint"):format(text) end
  return text
end


local function user_of(text)
  if text:find(":", 1, true) then
    return nil, "--user: a password on the command line can be read by everybody on this machine: "
      .. "use --password-file or LUNARCH_PASSWORD"
  end
  return text
end

local CONVERT = { user = user_of }

-- One that is in connection.ROWS.
local function define_row(parser, row)
  local flag = "--" .. row.name:gsub("_", "-")
  if row.value == false then
    parser:flag(flag, row.help)
  elseif row.value then
    local option = parser:option(flag, row.help):argname(row.value)
    if CONVERT[row.name] then option:convert(CONVERT[row.name]) end
  end
end

--- What a client, or a candidate, of this process is called where no name is given.
function etcd.default_name()
  return ("%s-%d"):format(host.hostname() or "localhost", host.pid())
end

function etcd.define(parser)
  parser:option("--endpoints", "etcd's members, host:port,host:port (default: 127.0.0.1:2379)")
    :argname("LIST"):convert(endpoints_of)
  parser:flag("--dev", "use a private etcd: started on demand, gone after its last user; --dev=NAME: one of that name")
  parser:option("--dev-name"):hidden(true)
  for _, row in ipairs(connection.ROWS) do
    define_row(parser, row)
  end
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
  if flags.discovery_srv and (flags.endpoints or flags.dev or flags.dev_name) then
    return "--discovery-srv says where etcd is: give it without --endpoints and --dev"
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

-- Takes what the environment says of the connection out of it, as far as `is_meant` says of a row.
local function forget(is_meant)
  local uv = require "luv"
  for _, row in ipairs(connection.ROWS) do
    if is_meant(row) then
      for _, name in ipairs { connection.variables(row) } do
        uv.os_unsetenv(name)
      end
    end
  end
end

local function is_discovery(row) return row.is_address end

-- A private etcd has no users, and speaks no TLS.
local function is_credential(row) return not row.is_ours end

--- Finds etcd as the flags say, and puts it into the environment: the endpoints that flags have given, or false.
--- nil, what is wrong, exit status.
---@return string|false|nil, string?, integer? status
function etcd.find(flags, log)
  local uv = require "luv"
  local is_dev = flags.dev or flags.dev_name
  for _, row in ipairs(connection.ROWS) do
    local value = flags[row.name]
    if value then uv.os_setenv(connection.variables(row), value == true and "1" or value) end
  end
  local given = flags.endpoints
  if is_dev then
    local trouble, status
    given, trouble, status = join_dev(flags, log)
    if not given then return nil, trouble, status end
    forget(is_credential)
  end
  if given then
    forget(is_discovery)
    uv.os_setenv("LUNARCH_ENDPOINTS", given)
    endpoints.of_flag = given
  end
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

--- What the script's globals say of the connection, beside `endpoints`: the environment, and so a flag, wins over them.
---@param globals table
---@return table options of lunarch.connect()
function etcd.settings_of_script(globals)
  local found = {}
  for _, row in ipairs(connection.ROWS) do
    local value = rawget(globals, row.name)
    local is_setting = type(value) ~= "table" and type(value) ~= "function" -- the script may use such a name itself
    if row.is_address and endpoints.variable() then is_setting = false end
    if is_setting and connection.from_environment(row) == nil then found[row.name] = value end
  end
  return found
end

--- What a script's candidates connect with, as options of lunarch.connect: `endpoints` is nil where the environment, in
--- which a flag is by now, says where etcd is. And these endpoints.
---@param globals table
---@param flag_endpoints string? those of a flag
function etcd.options_of_script(globals, flag_endpoints, log)
  local found = etcd.settings_of_script(globals)
  if not flag_endpoints then found.endpoints = etcd.of_script(rawget(globals, "endpoints"), log) end
  return found, found.endpoints
end

--- Whether nothing but the default says where etcd is.
function etcd.is_default(given)
  return given == nil and not endpoints.variable()
end

--- What may help where no etcd answers at the default address and none has answered yet.
etcd.HINT = " (--endpoints sets its address, --dev starts a private one)"

return etcd
