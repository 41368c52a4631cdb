-- The check of seconds that a verb is given.
local args = require "lunarch.internal.args"

args.is_ours()

-- Of a call that lets time pass; more is computed for hours.
local MOST_S = 86400

--- The number, or nil where none was given. Raises what is wrong with it.
---@param verb string
---@param name string of the argument
---@return number?
return function(verb, name, value)
  if value ~= nil and (type(value) ~= "number" or not (value >= 0 and value <= MOST_S)) then
    args.bad(verb, name, ("a number of seconds, at most %d (a day)"):format(MOST_S), value)
  end
  return value
end
