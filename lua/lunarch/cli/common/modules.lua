-- Where a script finds modules: its own beside itself, ours always in our own installation (src/host/own_modules.h).
local args = require "lunarch.internal.args"

args.is_ours()

local modules = {}

--- A module that carries the core: or nil and why it cannot be loaded (a library that is missing, say).
---@param name string
function modules.load(name)
  local ok, found = pcall(require, name)
  if ok then return found end
  return nil, ("cannot load the module '%s':\n%s"):format(name, tostring(found))
end

-- The folder of the script, and its path, both absolute: the script may go elsewhere.
local function locate(script)
  local folder, file = script:match "^(.*)/([^/]*)$"
  if not folder then folder, file = ".", script end
  if folder:sub(1, 1) ~= "/" and script:sub(1, 1) ~= "/" then
    local cwd = require "luv".cwd() or "."
    folder = folder == "." and cwd or cwd .. "/" .. folder
  end
  return folder, folder .. "/" .. file
end

local function is_same_file(path, other)
  local stat = require "luv".fs_stat
  local one, two = stat(path), stat(other)
  return one ~= nil and two ~= nil and one.ino == two.ino and one.dev == two.dev
end

-- package.path without what leads from this name to the script.
local function path_beside(is_script, name)
  local kept = {}
  for template in package.path:gmatch "[^;]+" do
    local found = package.searchpath(name, template)
    if not found or not is_script(found) then kept[#kept + 1] = template end
  end
  return table.concat(kept, ";")
end

-- A searcher for scripts that are called like a module which they require: cqueues.lua is not cqueues.
local function searcher_past(is_script)
  local standard = table.move(package.searchers, 1, #package.searchers, 1, {})
  return function(name)
    local found = package.searchpath(name, package.path)
    if not found or not is_script(found) then return nil end
    local path = package.searchpath(name, path_beside(is_script, name))
    if path then return assert(loadfile(path)), path end
    -- The last two are those of libraries.
    for i = #standard - 1, #standard do
      local loader, where = standard[i](name)
      if type(loader) == "function" then return loader, where end
    end
    return function()
      error(("module '%s' not found: %s is the script itself"):format(name, found), 0)
    end
  end
end

-- The folder of the file that a script is a link to, unless it is the same.
local function real_folder(folder, path)
  local real = (require "luv".fs_realpath(path) or ""):match "^(.*)/[^/]*$"
  return real and real ~= folder and real or nil
end

local function put_first(folder)
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
  package.cpath = ("%s/?.so;%s"):format(folder, package.cpath)
end

--- `require "helper"` finds helper.lua in the folder of the script, first of all, and where the script is a link, in
--- the folder of the file that it leads to; never the script itself.
---@param script string the script's path
function modules.look_beside(script)
  local folder, path = locate(script)
  local real = real_folder(folder, path)
  if real then put_first(real) end
  put_first(folder)
  table.insert(package.searchers, 3, searcher_past(function(found) return is_same_file(found, path) end))
end

--- The same for the states of the simulator, which take package.path from here and have ours first in it. What each of
--- them is to call never_itself with.
---@param script string the script's path
---@return table<string, true>
function modules.look_beside_in_sim(script)
  local folder, path = locate(script)
  local ours, rest = package.path:match "^([^;]*;[^;]*)(.*)$"
  package.path = ("%s;%s/?.lua;%s/?/init.lua%s"):format(ours, folder, folder, rest)
  local paths = { [path] = true }
  if folder == require "luv".cwd() then paths["./" .. path:match "[^/]*$"] = true end
  return paths
end

--- From now on `require` takes none of these paths, which lead to the script.
---@param paths table<string, true>
function modules.never_itself(paths)
  table.insert(package.searchers, 2, searcher_past(function(found) return paths[found] end))
end

return modules
