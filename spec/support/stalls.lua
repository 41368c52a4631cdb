-- Whether the machine stood still: a thread that does nothing but read the clock notes each time it could not do so.
--
--   local stalls = require("support.stalls").watch(path)     `path`: a file of its own
--   stalls.longest(since)                                    seconds; `since` and the thread go by uv.hrtime
local tree = require "support.tree"
local uv = require "luv"

local stalls = {}

-- Shorter ones are no news.
local STALL_MS, STEP_MS = 50, 2

local function read_clock(path, stall_ms, step_ms)
  local luv = require "luv"
  local file = assert(io.open(path, "w"))
  file:setvbuf "line"
  local last = luv.hrtime()
  while true do
    luv.sleep(step_ms)
    local now = luv.hrtime()
    if now - last >= stall_ms * 1e6 then file:write(("%.0f %.0f\n"):format(last, now)) end
    last = now
  end
end

-- The thread lasts as long as the process.
---@param path string
function stalls.watch(path)
  local self = { thread = assert(uv.new_thread(read_clock, path, STALL_MS, STEP_MS)) }

  -- The longest that ended after `since`, in seconds; 0 where there was none.
  ---@param since number uv.hrtime()
  function self.longest(since)
    local longest = 0
    -- The thread may not have begun yet.
    for from, to in tree.read(path):gmatch "(%d+) (%d+)\n" do
      if tonumber(to) >= since then longest = math.max(longest, (tonumber(to) - tonumber(from)) / 1e9) end
    end
    return longest
  end

  return self
end

return stalls
