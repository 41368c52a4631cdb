-- --dev: the private etcd (its life is told in src/host/dev.h).
local exit = require "lunarch.cli.common.exit"
local host = require "lunarch.host"

local dev = {}

local function on_path()
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    local path = folder .. "/etcd"
    if folder:sub(1, 1) == "/" and host.is_program(path) then return path end
  end
  return nil
end

-- In a build tree ./dev may have unpacked one: <root>/build/<preset> is our prefix.
local function unpacked()
  local path = host.prefix:gsub("/[^/]*$", "") .. "/tools/etcd/usr/bin/etcd"
  return host.is_program(path) and path or nil
end

--- The etcd program to use: or nil and why there is none.
---@return string?, string?
function dev.program()
  local named = os.getenv "ETCD"
  if named and named ~= "" then
    if host.is_program(named) then return named end
    return nil, ("ETCD=%s is not a program"):format(named)
  end
  local found = on_path() or unpacked()
  if found then return found end
  return nil, "there is no program 'etcd' on the PATH: install it (Debian: etcd-server), or set ETCD=/path/to/etcd"
end

-- Part of a folder's name.
local function is_name(name)
  return #name <= 32 and name:find "^[%w][%w_.-]*$"
end

---@class lunarch.Dev what makes this process a user
---@field endpoint string
---@field dir string
---@field name string "" for the one without a name
---@field program string

--- Makes this process a user of a private etcd, and starts it where there is none: or nil, why not, the exit status.
---@param name? string
---@return lunarch.Dev?, string?, integer? status
function dev.join(name)
  if name and not is_name(name) then
    return nil, ("'%s' is not a name: letters, digits, '-', '_' and '.', at most 32 of them"):format(name), exit.USAGE
  end
  local program, why = dev.program()
  if not program then return nil, why, exit.USAGE end
  local endpoint, dir = host.join_dev(program, name or "")
  if not endpoint then return nil, dir, exit.FAILED end
  return { endpoint = endpoint, dir = dir, name = name or "", program = program }
end

local SAYINGS = {
  gone = "the keeper of the private etcd is gone: starting another",
  started = "another keeper of the private etcd has started",
  ["not started"] = "there is no private etcd, and it is tried again: %s",
}

--- Takes part in starting another keeper whenever the present one dies, and says so. Needs the loop of luv; does not
--- keep it alive, nor hold it up.
---@param etcd lunarch.Dev
function dev.watch(etcd, log)
  local fd, why = host.stay_in_dev(etcd.program, etcd.name)
  if not fd then
    log.warn("the private etcd will not be started again where its keeper dies: %s", why)
    return
  end
  local poll = assert(require "luv".new_poll(fd))
  poll:start("r", function()
    local event, trouble = host.dev_event()
    if event then log[event == "not started" and "error" or "warn"](SAYINGS[event], trouble) end
  end)
  poll:unref()
  dev.poll = poll -- kept for life
end

return dev
