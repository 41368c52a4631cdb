-- Which libraries our own files use (luv, cjson, argparse): the system's. A file of such a name in the working
-- directory, or beside the script, is the script's.
require "lunarch.internal.args".is_ours()

local libraries = {}

-- The templates that lead to the same place from every working directory.
local function absolute(templates)
  local kept = {}
  for template in templates:gmatch "[^;]+" do
    if template:sub(1, 1) == "/" then kept[#kept + 1] = template end
  end
  return table.concat(kept, ";")
end

--- From now on `require` of our own files, which have an environment of their own (src/host/own_modules.h), finds a
--- library where package.path and package.cpath lead now. What is loaded already is taken; what is not there is
--- looked for as a script's would be.
function libraries.settle()
  local own, find = _ENV, require
  if own == _G then return end
  local path, cpath = absolute(package.path), absolute(package.cpath)
  rawset(own, "require", function(name)
    if package.loaded[name] ~= nil or name == "lunarch" or name:find "^lunarch%." then return find(name) end
    local path_before, cpath_before = package.path, package.cpath
    package.path, package.cpath = path, cpath
    local ok, found = pcall(find, name)
    package.path, package.cpath = path_before, cpath_before
    return ok and found or find(name)
  end)
end

return libraries
