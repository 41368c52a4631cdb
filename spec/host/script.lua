-- Scripts written by specs of the host, and the program that runs them.
local process = require "support.process"
local tree = require "support.tree"

local script = {}

-- A file with this text; `name` is how messages will call it.
---@return string path
function script.write(text, name)
  local path = tree.folder() .. "/" .. (name or "script.lua")
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- Starts `lunarch run` with a script of this text and these flags. `env` may stand among the flags.
---@return Process
function script.start(text, flags)
  flags = flags or {}
  local command = { "lunarch", "run", script.write(text), table.unpack(flags) }
  command.env = flags.env
  return process.start(command)
end

-- The same, to its end.
---@return string output, integer status, integer signal
function script.run(text, flags)
  local child = script.start(text, flags)
  local status, signal = child:wait_exit()
  return child:output(), status, signal
end

return script
