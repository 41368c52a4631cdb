-- Where the text of a script comes from: a file, stdin, or the command line.
local args = require "lunarch.internal.args"
local options = require "lunarch.candidate.options"

args.is_ours()

local source = {}

-- Code that comes without a file finds the verbs of the console.
local function code_of(text, name)
  local code = require "lunarch.console.code"
  code.globals()
  local chunk, trouble = code.load(text, name)
  if not chunk then return nil, trouble end
  return function(...) return code.run(chunk, ...) end
end

local MOST_LOOKED_AT = 1024 * 1024

--- Whether it can be read again and again: no pipe, and no folder.
function source.is_file(path)
  local stat = require "luv".fs_stat(path)
  return stat ~= nil and stat.type == "file"
end

local function text_of(flags)
  if flags.code then return flags.code end
  local file = source.is_file(flags.script) and io.open(flags.script)
  local text = file and file:read(MOST_LOOKED_AT) or ""
  if file then file:close() end
  return text
end

--- Whether it looks as if the script declares candidates by globals or by candidate{...}: before it has run.
---@return boolean
function source.declares_candidates(flags)
  local text = "\n" .. text_of(flags)
  if text:find "\nelection%s*[,=]" or text:find "%f[%w_.:]candidate%s*[{(]" then return true end
  for name in text:gmatch "\nfunction%s+([%w_]+)%s*%(" do
    if options.handlers[name] then return true end
  end
  return false
end

--- The script that a command line names, as a function: or nil and what is wrong with it.
---@return function?, string? trouble
function source.load(flags)
  local path = flags.script
  if flags.code then return code_of(flags.code, "=code") end
  if path == "-" then
    local text, trouble = io.read "a"
    if not text then return nil, "cannot read stdin: " .. trouble end
    return code_of(text, "=stdin")
  end
  local stat = require "luv".fs_stat(path)
  if stat and stat.type == "directory" then return nil, ("%s is a directory, not a script"):format(path) end
  if not stat and flags.is_short and not path:find "[./]" then
    return nil, ("there is no script and no command '%s'%s"):format(path, require("lunarch.cli").meant(path))
  end
  return loadfile(path)
end

return source
