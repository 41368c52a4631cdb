-- Light threads that can be ended from anywhere, with all that runs in their timer: nginx lets only the light thread
-- that has made another one kill it, and none of its descendants.
local args = require "lunarch.internal.args"

args.is_ours()

local each = require "lunarch.internal.each"
local requests = require "lunarch.loop.nginx.request"
local semaphore = require "ngx.semaphore"

local threads = {}

local LONGEST_S = 1e6
local LOOK_S = 1

local WEAK = { __mode = "k" }

-- Those that the user's code begins in our timers are noted: so ngx.thread.spawn is replaced, in all of the worker.
local spawn = ngx.thread.spawn

rawset(ngx.thread, "spawn", function(fn, ...)
  -- As it is, so that nginx's own words name the caller's line.
  if type(fn) ~= "function" then return spawn(fn, ...) end
  local child = spawn(fn, ...)
  local request = requests.here()
  if request and request.thread then request.thread.children[child] = true end
  return child
end)

--- Whether the light thread of this coroutine has ended: one that nothing has waited for is a "zombie".
function threads.has_ended(light)
  local status = coroutine.status(light)
  return status == "dead" or status == "zombie"
end

local function has_children(thread)
  for child in each(thread.children) do
    if not threads.has_ended(child) then return true end
  end
  return false
end

--- In a timer: calls `body`, which must not raise, in a light thread of this timer, and returns when that one and all
--- that were begun in it have ended. `thread`: a table for threads.kill; its fields is_killed, gate and children are
--- ours.
function threads.run(thread, body)
  thread.gate, thread.children = assert(semaphore.new()), setmetatable({}, WEAK)
  requests.keep().thread = thread
  local has_returned = false
  spawn(function()
    body()
    has_returned = true
    thread.gate:post(1)
  end)
  while not has_returned and not thread.is_killed do
    thread.gate:wait(LONGEST_S)
  end
  while not thread.is_killed and has_children(thread) do
    thread.gate:wait(LOOK_S)
  end
  if thread.is_killed then ngx.exit(ngx.OK) end
end

--- Ends the timer in which threads.run was called with this table, from anywhere; it ends later, not now.
function threads.kill(thread)
  thread.is_killed = true
  if thread.gate then thread.gate:post(1) end
end

return threads
