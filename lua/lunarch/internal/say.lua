-- Lines on stderr from code of ours that has no log: they never wait for the reader of stderr.
local args = require "lunarch.internal.args"
local tame = require "lunarch.internal.tame"

args.is_ours()

-- is_plain: nothing around the program has a log of its own.
local say = { is_plain = true }

--- Writes the text as it is. Replaced where stderr is another's affair: by the program, and in the simulator.
---@param text string
function say.write(text)
  require "lunarch.core".say(text)
end

--- One line, with our name in front of it.
---@param format string
function say.line(format, ...)
  say.write("lunarch: " .. tame(select("#", ...) > 0 and format:format(...) or format) .. "\n")
end

--- A warning. Replaced where the program has a log of its own.
---@param text string
function say.warn(text)
  say.line("%s", text)
end

return say
