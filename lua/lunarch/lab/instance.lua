-- A second instance of our modules in this state: one that lives in the simulated world, beside the one that waits for
-- real time. Modules of others are shared.
require "lunarch.internal.args".is_ours()

-- Where the simulated world has a file of its own.
local INSTEAD = {
  ["lunarch.loop.luv"] = "lunarch.cli.sim.loop", ["lunarch.commands"] = "lunarch.cli.sim.commands",
}

local function is_ours(name)
  return name == "lunarch" or name:find "^lunarch%." ~= nil
end

--- Returns `require` of that instance. `given`: modules by name that exist already.
---@param given table<string, any>
return function(given)
  local loaded = {}
  for name, module in pairs(given) do
    loaded[name] = module
  end
  local env
  local function own_require(name)
    if not is_ours(name) then return require(name) end
    name = INSTEAD[name] or name
    if loaded[name] ~= nil then return loaded[name] end
    local path = package.searchpath(name, package.path)
    if not path then return require(name) end
    local found = assert(loadfile(path, "t", env))(name, path)
    if found == nil then found = true end
    loaded[name] = found
    return found
  end
  env = setmetatable({ require = own_require }, { __index = _G, __newindex = _G })
  return own_require
end
