-- What is left to do when nginx ends a worker without giving it time: in exit_worker_by_lua*.
require "lunarch.internal.args".is_ours()

local core = require "lunarch.core"
local runners = require "lunarch.loop.ending"

local ending = {}

local all = {}

--- `fn(until_s)` is called then; it may block until that instant of core.now.
function ending.add(fn)
  all[#all + 1] = fn
end

--- Ends the singletons, and the candidates that are run in timers. Every wait blocks from then on.
function ending.exit_worker(seconds)
  local until_s = core.now() + seconds
  for _, fn in ipairs(all) do
    fn(until_s)
  end
  runners.finish(until_s)
end

return ending
