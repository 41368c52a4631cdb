-- Light threads that can be ended from anywhere, with all that runs in their timer: nginx lets only the light thread
-- that has made another one kill it, and none of its descendants.
local args = require "lunarch.internal.args"

args.is_ours()

local semaphore = require "ngx.semaphore"

local threads = {}

local LONGEST_S = 1e6

--- In a timer: calls `body`, which must not raise, in a light thread of this timer, and returns when that has ended.
--- `thread`: a table for threads.kill; its fields is_killed and gate are ours.
function threads.run(thread, body)
  thread.gate = assert(semaphore.new())
  local has_returned = false
  ngx.thread.spawn(function()
    body()
    has_returned = true
    thread.gate:post(1)
  end)
  while not has_returned and not thread.is_killed do
    thread.gate:wait(LONGEST_S)
  end
  if not has_returned then ngx.exit(ngx.OK) end
end

--- Ends the timer in which threads.run was called with this table, from anywhere; it ends later, not now.
function threads.kill(thread)
  thread.is_killed = true
  if thread.gate then thread.gate:post(1) end
end

return threads
