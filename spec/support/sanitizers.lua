-- What the sanitizers need around a program that they watch: libraries put before it, and their options.
local tree = require "support.tree"

local sanitizers = {}

-- `preload` is for the Lua VMs alone, which load sanitized code without being sanitized themselves.
---@param kind? "asan"|"tsan" nil: none
---@return table environment
function sanitizers.environment(kind)
  if kind == "tsan" then
    return { TSAN_OPTIONS = "suppressions=" .. tree.root .. "/spec/unit/tsan.supp" }
  elseif not kind then
    return {}
  end
  local pipe = assert(io.popen "gcc -print-file-name=libasan.so; gcc -print-file-name=libubsan.so")
  local asan, ubsan = pipe:read("l", "l")
  pipe:close()
  return {
    preload = asan .. " " .. ubsan,
    -- The leak checker crashes in the thread-local storage of libraries that were loaded late, if it follows it.
    ASAN_OPTIONS = "detect_leaks=1:exitcode=99:intercept_tls_get_addr=0",
    UBSAN_OPTIONS = "print_stacktrace=1",
    LSAN_OPTIONS = "print_suppressions=0:suppressions=" .. tree.root .. "/spec/support/lsan.supp",
  }
end

return sanitizers
