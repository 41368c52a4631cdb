-- A machine's way to its world, in the simulator (src/lab/open_world.c).
require "lunarch.internal.args".is_ours()

local inside = require "lunarch.lab.inside"
local loop = require "lunarch.cli.sim.loop"

local link = { spec = inside.spec(), send = inside.answer, instant = inside.instant }

--- Calls fn with each order, from the loop.
function link.listen(fn)
  local on_signal = loop.on_signal
  function loop.on_signal(number)
    for order in inside.take do
      fn(order)
    end
    if number == 15 and on_signal then on_signal(number) end
  end
end

return link
