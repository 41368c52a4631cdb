-- Loads the modules that carry the core: a program that lacks a library of theirs says which.
require "lunarch.args".is_ours()

--- The module, or nil after it was said why not.
---@param name string
---@param say fun(text: string)
return function(name, say)
  local ok, found = pcall(require, name)
  if ok then return found end
  say(("cannot load the module '%s':\n%s"):format(name, tostring(found)))
  return nil
end
