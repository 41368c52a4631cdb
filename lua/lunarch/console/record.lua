-- What was typed, as a script that runs without the console.
local args = require "lunarch.internal.args"
local chunk = require "lunarch.console.chunk"

args.is_ours()

local record = {}

local HEAD = [[
-- Recorded by `lunarch console`. Run it with `lunarch %s` and the flags that say where etcd is.
local console = require "lunarch.console.code"
console.globals()
console.run(function(...)

]]

local FOOT = "\nend)\n"

local Record = {}
Record.__index = Record

function record.new()
  return setmetatable({}, Record)
end

-- As a chunk of its own: its locals and labels end with it, and what it returns ends no script.
local function apart(text) return ("show((function(...) %s\nend)(...))"):format(text) end

-- An expression, whose values are shown. A comment behind it must not hide what follows.
local function shown(text)
  local call = ("show(%s%s)"):format(text, text:find("--", 1, true) and "\n" or "")
  return chunk.is_expression(call) and call or apart("return " .. text)
end

local function stands_alone(text)
  return text:find "^%s*%(" or text:find "%f[%w_]local%f[^%w_]" or text:find "%f[%w_]return%f[^%w_]"
    or text:find("::", 1, true)
end

-- The line of the script.
local function line_of(text, kind)
  if kind == "expression" then return shown(text) end
  -- As it was evaluated: a script has no more than 200 names of its own.
  if kind == "assignment" then return chunk.without_local(text) or text end
  return stands_alone(text) and not chunk.is_function(text) and apart(text) or text
end

-- What concerns the console alone: the script has its etcd, and its seed, by its flags.
local CONSOLE = { record = true, help = true, dev = true, seed = true }

--- A chunk that was typed and did not fail.
---@param text string
---@param kind "expression"|"assignment"|"statement"
function Record:add(text, kind)
  text = chunk.without_sign(text)
  if kind == "expression" and CONSOLE[text:match "^%s*([%a_][%w_]*)"] then return end
  self[#self + 1] = line_of(text, kind)
end

-- In a world that can be broken it is an experiment, which `lunarch lab` plays.
local EXPERIMENT = [[
-- Recorded by `lunarch console --%s`. Play it with `%s`.
]]

local function frame(world, path)
  if world.command then return EXPERIMENT:format(world.name, world:command(path)), "\n" end
  return HEAD:format(path), FOOT
end

--- Writes what was typed so far in this world: a sentence, or nil and what prevents it.
---@param path string
---@param world lunarch.console.World
function Record:write(path, world)
  args.text("record", "path", path)
  local file, message = io.open(path, "w")
  if not file then return nil, message, "invalid" end
  local head, foot = frame(world, path)
  file:write(head, table.concat(self, "\n"), foot)
  file:close()
  return ("%d lines in %s"):format(#self, path)
end

return record
