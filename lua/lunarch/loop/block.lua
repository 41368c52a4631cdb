-- Waiting in plain Lua: the thread blocks.
--
-- In slices: a signal that comes just before the wait begins cannot end it, and Lua's own Ctrl-C is seen only when C
-- returns.
local args = require "lunarch.internal.args"

args.is_ours()

local core = require "lunarch.core"

local block = {}

local SLICE_MS = 250
local SLICE_S = SLICE_MS / 1000

local limit_at, limit_err

-- So many seconds from now waits begin to raise `err`; nil: they no longer do.
function block.limit(seconds, err)
  limit_at, limit_err = seconds and core.now() + seconds, err
end

local function check_limit()
  if limit_at and core.now() >= limit_at then error(limit_err, 0) end
end

local function poll_until(client, id)
  while true do
    local is_done, _, code = client:wait(id, SLICE_MS)
    if is_done or code == "closed" then return end
    check_limit()
  end
end

-- Waits for an operation. False and the error when something was raised meanwhile (Ctrl-C): then the operation still
-- goes on.
function block.wait(client, id)
  return pcall(poll_until, client, id)
end

function block.sleep(seconds)
  local until_s = core.now() + seconds
  local left_s = seconds
  while left_s > 0 do
    core.sleep(left_s < SLICE_S and left_s or SLICE_S)
    check_limit()
    left_s = until_s - core.now()
  end
end

--- Waits where nothing else can go on that would end it: false after so many seconds; nil is an error.
function block.in_vain(seconds)
  if not seconds then args.misuse "nothing can go on here that would end this wait" end
  block.sleep(seconds)
  return false
end

return block
