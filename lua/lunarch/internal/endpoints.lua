-- Where etcd is: what is given, else the environment, else this machine. How an address is written, the core knows.
local args = require "lunarch.internal.args"

args.is_ours()

local endpoints = { DEFAULT = "127.0.0.1:2379" }

local PREFIXES = { "LUNARCH_", "ETCDCTL_" }

--- The text that a flag has put into the environment: what is wrong with it is wrong with the flag.
---@type string?
endpoints.of_flag = nil

--- DNS names the members: the endpoint that stands for that.
---@param domain string
---@param name? string of the service
---@return string
function endpoints.of_domain(domain, name)
  return "srv://" .. domain .. (name and name ~= "" and "/" .. name or "")
end

--- Whether there is anything between commas and blanks.
---@param text string?
---@return boolean
function endpoints.is_any(text)
  return text ~= nil and text:find "[^,%s]" ~= nil
end

--- The variable that says where etcd is, and what it says; nil where none does. A domain for DNS comes before
--- endpoints, as in etcdctl.
---@return string? name, string? text
function endpoints.variable()
  for _, prefix in ipairs(PREFIXES) do
    local domain, text = os.getenv(prefix .. "DISCOVERY_SRV"), os.getenv(prefix .. "ENDPOINTS")
    if endpoints.is_any(domain) then
      return prefix .. "DISCOVERY_SRV", endpoints.of_domain(domain, os.getenv(prefix .. "DISCOVERY_SRV_NAME"))
    end
    if endpoints.is_any(text) then return prefix .. "ENDPOINTS", text end
  end
  return nil
end

--- The endpoints in use, each once and written in full, and the variable that they come from, if any; or nil, which is
--- wrong and why, "invalid".
---@param option string|string[]|nil a list, or text with commas
---@return string[]? found, string? variable_or_message, string? code
function endpoints.of(option)
  local variable, text
  if not option then variable, text = endpoints.variable() end
  local given = option or text or endpoints.DEFAULT
  local found, message, code = require "lunarch.core".endpoints(type(given) == "table" and given or { given })
  if found then return found, variable end
  local source = text and text == endpoints.of_flag and "--endpoints" or variable
  return nil, (source and source .. ": " or "") .. message, code
end

return endpoints
