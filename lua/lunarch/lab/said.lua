-- Lines of text as a value that prints as what it is.
require "lunarch.internal.args".is_ours()

local Said = { __name = "lunarch.lines" }

function Said.__tostring(lines) return table.concat(lines, "\n") end

Said.__console = Said.__tostring

--- The lines, with that metatable.
---@param lines string[]
return function(lines) return setmetatable(lines, Said) end
