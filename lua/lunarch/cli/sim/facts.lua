-- `sim`, as a script finds it in the simulator: facts for check(world), in world.notes.
local args = require "lunarch.internal.args"

args.is_ours()

local facts = {}

local DEEPEST = 8 -- as deep as src/lab/value.c copies

local function check_value(call, value, depth)
  local kind = type(value)
  if kind == "table" and depth < DEEPEST and not getmetatable(value) then
    for name, item in pairs(value) do
      if type(name) ~= "string" and math.type(name) ~= "integer" then
        args.misuse("%s: 'value' has %s as a key: it may only have strings and whole numbers", call,
          args.describe(name))
      end
      check_value(call, item, depth + 1)
    end
  elseif kind ~= "nil" and kind ~= "boolean" and kind ~= "number" and kind ~= "string" then
    args.bad(call, "value", "nil, a boolean, a number, a string, or a plain table of these", value)
  end
end

local function check_count(call, most, n)
  if n > most then args.misuse("%s: it takes at most %d argument%s, not %d", call, most, most == 1 and "" or "s", n) end
end

--- `own` has note(name, value), add(name, number) -> false where the note is no number, now(), and exec(fn).
function facts.new(own)
  local sim = {}

  function sim.note(...)
    local name, value = ...
    check_count("sim.note", 2, select("#", ...))
    args.string("sim.note", "name", name)
    check_value("sim.note", value, 0)
    own.note(name, value)
  end

  function sim.add(...)
    local name, number = ...
    check_count("sim.add", 2, select("#", ...))
    args.string("sim.add", "name", name)
    if number ~= nil and type(number) ~= "number" then args.bad("sim.add", "number", "a number", number) end
    if own.add(name, number or 1) == false then
      args.misuse("sim.add: the note '%s' is no number: nothing can be added to it", name)
    end
  end

  function sim.now(...)
    check_count("sim.now", 0, select("#", ...))
    return own.now()
  end

  function sim.exec(...)
    check_count("sim.exec", 1, select("#", ...))
    own.exec(args.callable("sim.exec", "fn", (...)))
  end

  return setmetatable(sim, { __index = function(_, name) args.unknown("sim", tostring(name), sim, "function") end })
end

return facts
