-- Where a candidate's words go: to the log that it was given, or to stderr, where nothing of them is mere information.
local args = require "lunarch.internal.args"
local loop = require "lunarch.loop"
local known = require "lunarch.candidate.options"
local say = require "lunarch.internal.say"

args.is_ours()

local log = {}

local function nothing() end

local function stderr_log(name)
  local own = { debug = nothing, info = nothing }
  for _, level in ipairs { "warn", "error" } do
    own[level] = function(format, ...)
      local text = select("#", ...) > 0 and format:format(...) or format
      say.line("%s: %s: %s", name, level, text)
    end
  end
  return own
end

-- A log of the user's: where it fails, the line goes to stderr, and the candidate goes on.
local function guarded_log(given, name)
  local own, guarded = stderr_log(name), { debug = nothing }
  for _, level in ipairs(known.LEVELS) do
    guarded[level] = function(format, ...)
      local ok, err = pcall(given[level], format, ...)
      if ok then return end
      loop.pass_on(err)
      own.error("the log failed: %s", args.error_text(err))
      own[level](format, ...)
    end
  end
  if given.debug then
    ---@diagnostic disable-next-line: redundant-parameter
    guarded.debug = function(...)
      local ok, err = pcall(given.debug, ...)
      if not ok then loop.pass_on(err) end
    end
  end
  return guarded
end

--- `given`: the option `log`, or nil.
function log.new(given, name)
  return given and guarded_log(given, name) or stderr_log(name)
end

return log
