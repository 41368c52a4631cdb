-- Modules that are loaded when they are first used, and not before the first line can be typed.
require "lunarch.internal.args".is_ours()

--- A stand-in for the module of this name, which is a table.
---@param name string
---@return table
return function(name)
  return setmetatable({}, { __index = function(_, key) return require(name)[key] end })
end
