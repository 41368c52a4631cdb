-- Where a script finds modules: its own beside itself, ours always in our own installation, whatever the working
-- directory is and becomes.
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

local function folder_of(script)
  local folder = script:match "^(.*)/[^/]*$" or "."
  if folder == "" then return "" end
  if folder:sub(1, 1) == "/" then return folder end
  local cwd = require "luv".cwd() or "."
  return folder == "." and cwd or cwd .. "/" .. folder
end

-- Ours are the first in package.path and package.cpath (src/host/main.c).
local our_path = package.path:match "^[^;]*;[^;]*"
local our_cpath = package.cpath:match "^[^;]*"

local function find_ours(name)
  if name ~= "lunarch" and not name:find "^lunarch%." then return nil end
  local path = package.searchpath(name, our_path)
  if path then return assert(loadfile(path)), path end
  path = package.searchpath(name, our_cpath)
  if path then return assert(package.loadlib(path, "luaopen_" .. name:gsub("%.", "_"))), path end
  return nil
end

--- `require "helper"` finds helper.lua in the folder of the script, first of all.
---@param script string the script's path
function modules.look_beside(script)
  local folder = folder_of(script)
  -- A folder beside the script may be called lunarch.
  table.insert(package.searchers, 2, find_ours)
  package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
  package.cpath = ("%s/?.so;%s"):format(folder, package.cpath)
end

return modules
