-- Required for its effect: writing to somebody who has died is an error to report, not the end of this process.
local uv = require "luv"

local broken_pipe = uv.new_signal()
broken_pipe:start("sigpipe", function() end)
broken_pipe:unref()

return true
