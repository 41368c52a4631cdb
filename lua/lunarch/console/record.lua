-- What was typed, as a script that runs without the console.
local args = require "lunarch.internal.args"

args.is_ours()

local record = {}

local HEAD = [[
-- Recorded by `lunarch console`. Run it with `lunarch %s` and the flags that say where etcd is.
local console = require "lunarch.console.code"
console.globals()
console.run(function()

]]

local FOOT = "\nend)\n"

local Record = {}
Record.__index = Record

function record.new()
  return setmetatable({}, Record)
end

--- A chunk that was typed and did not fail.
---@param text string
---@param kind "expression"|"statement"
function Record:add(text, kind)
  if text:find "^%s*record%f[%W]" or text:find "^%s*help%f[%W]" then return end
  local value = kind == "expression" and text or text:match "^%s*return%f[%W](.*)$"
  self[#self + 1] = value and ("show(%s)"):format(value) or text
end

--- Writes what was typed so far: true, or nil and what prevents it.
---@param path string
function Record:write(path)
  args.text("record", "path", path)
  local file, message = io.open(path, "w")
  if not file then return nil, message, "invalid" end
  file:write(HEAD:format(path), table.concat(self, "\n"), FOOT)
  file:close()
  return ("%d lines in %s"):format(#self, path)
end

return record
