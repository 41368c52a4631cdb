-- Where the program of a command is, as lunarch.exec looks for it (src/module/command_plan.c).
local args = require "lunarch.internal.args"

args.is_ours()

local programs = {}

local USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"

-- Nil, or what is wrong with the file.
local function trouble_with(path)
  local uv = require "luv"
  local stat, _, code = uv.fs_stat(path)
  if not stat then return ("%s: %s"):format(path, code == "ENOENT" and "there is no such file" or code) end
  if stat.type == "directory" then return path .. " is a directory" end
  if not uv.fs_access(path, "X") then return "no permission to execute " .. path end
  return nil
end

local function trouble_on_path(program, path)
  for folder in (path .. ":"):gmatch "([^:]*):" do
    if not trouble_with((folder == "" and "." or folder) .. "/" .. program) then return nil end
  end
  return ("%s is not found in PATH"):format(program)
end

--- Nil, or why a command of lunarch.exec cannot be begun.
---@param command table { "program", "argument", ..., env =, cwd = }
---@return string?
function programs.trouble(command)
  local cwd, program = command.cwd, command[1]
  local stat = cwd and require "luv".fs_stat(cwd)
  if cwd and not (stat and stat.type == "directory") then return ("cwd: there is no folder %s"):format(cwd) end
  if program:find "/" then
    local is_absolute = not cwd or program:sub(1, 1) == "/"
    return trouble_with(is_absolute and program or cwd .. "/" .. program)
  end
  local path = os.getenv "PATH"
  if command.env and command.env.PATH ~= nil then path = command.env.PATH end
  return trouble_on_path(program, path and path ~= "" and path or USUAL_PATH)
end

return programs
