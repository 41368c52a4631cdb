-- cqueues waits for sockets and for the clock of the machine, and neither moves in the simulator: a script would wait
-- there for ever. It is refused where it is required.
require "lunarch.internal.args".is_ours()

local foreign = {}

local function refuse(name)
  if not name:match "^_?cqueues%f[.\0]" then return nil end
  return function()
    error(("require '%s': the sockets and the clock of cqueues are not in the simulation: wait with "
      .. "lunarch.sleep, lunarch.spawn and lunarch.exec"):format(name), 3)
  end
end

--- From now on `require` raises for it and what belongs to it, in this Lua state.
function foreign.refuse()
  table.insert(package.searchers, 2, refuse)
end

return foreign
