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
---@field keeper_fd integer

--- Makes this process a user of a private etcd, and starts it where there is none: or nil, why not, the exit status.
---@param name? string
---@return lunarch.Dev?, string?, integer? status
function dev.join(name)
  if name and not is_name(name) then
    return nil, ("'%s' is not a name: letters, digits, '-', '_' and '.', at most 32 of them"):format(name), exit.USAGE
  end
  local program, why = dev.program()
  if not program then return nil, why, exit.USAGE end
  local endpoint, dir, keeper_fd = host.join_dev(program, name or "")
  if not endpoint then return nil, dir, exit.FAILED end
  return { endpoint = endpoint, dir = dir, name = name or "", program = program, keeper_fd = keeper_fd }
end

--- Takes part in starting another keeper whenever the present one dies. Needs the loop of luv; does not keep it alive.
function dev.watch(etcd, log)
  local uv = require "luv"
  local poll = assert(uv.new_poll(etcd.keeper_fd))
  local function on_event()
    poll:stop()
    log.warn("the keeper of the private etcd is gone: starting another")
    local endpoint, dir, keeper_fd = host.join_dev(etcd.program, etcd.name)
    if not endpoint then return log.error("no private etcd any more: %s", dir) end
    etcd.keeper_fd = keeper_fd
    dev.watch(etcd, log)
  end
  -- Nothing is ever written there; what comes is the error of a pipe that nobody reads any more.
  poll:start("d", on_event)
  poll:unref()
end

return dev
