-- Many stories at once, in one thread: each is a coroutine that waits by `eventually` and `pass`, and all are asked in
-- turn. What a story does between two waits should not block for long.
local uv = require "luv"
local clock = require "support.clock"
local wait = require "support.wait"

local together = {}

local STEP_MS = 2

local Story = {}
Story.__index = Story

-- As wait.eventually, while the other stories go on.
function Story:eventually(fn, limit, what)
  limit = limit or wait.LIMIT
  local deadline = clock.now() + limit
  while true do
    local result = fn()
    if result then return result end
    if clock.now() >= deadline then error(("waited %g s in vain for %s"):format(limit, what or "a condition"), 2) end
    coroutine.yield()
  end
end

-- As wait.pass.
function Story:pass(seconds)
  local deadline = clock.now() + seconds
  while clock.now() < deadline do
    coroutine.yield()
  end
end

-- Runs `tell(item, story)` for each item, all at once, and returns when all have ended. The errors of all those that
-- failed are raised as one. `turn` is called once a round: when it returns something, the stories are left where they
-- are, and that is returned.
---@param items table
---@param tell fun(item: any, story: table)
---@param turn? fun(): any
---@return any
function together.each(items, tell, turn)
  local running, failures = {}, {}
  for _, item in ipairs(items) do
    running[#running + 1] = coroutine.create(function() tell(item, setmetatable({}, Story)) end)
  end
  while #running > 0 do
    for i = #running, 1, -1 do
      local ok, err = coroutine.resume(running[i])
      if not ok then failures[#failures + 1] = debug.traceback(running[i], tostring(err)) end
      if coroutine.status(running[i]) == "dead" then table.remove(running, i) end
    end
    local verdict = turn and turn()
    if verdict then return verdict end
    uv.sleep(STEP_MS)
  end
  if #failures > 0 then
    error(("%d of %d failed:\n%s"):format(#failures, #items, table.concat(failures, "\n")), 2)
  end
end

return together
