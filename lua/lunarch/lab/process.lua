-- Child processes of the lab: they end with it, whatever ends it.
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local processes = {}

-- What is meant for lunarch and etcd is said by flags here.
local function environment()
  local list = {}
  for name, value in pairs(uv.os_environ()) do
    if not name:match "^LUNARCH_" and not name:match "^ETCD" then list[#list + 1] = name .. "=" .. value end
  end
  return list
end

--- Calls fn with each line that is read from the pipe.
function processes.each_line(pipe, fn)
  local rest = ""
  pipe:read_start(function(_, data)
    if not data then return pipe:read_stop() end
    local text = rest .. data
    for line in text:gmatch "([^\n]*)\n" do
      fn(line)
    end
    rest = text:match "[^\n]*$"
  end)
end

--- The words that run a module of ours as a script of `lunarch run`.
function processes.words_of(module, ...)
  return {
    assert(uv.fs_readlink "/proc/self/exe"), "run", assert(package.searchpath(module, package.path)), ...,
  }
end

--- Starts words[1] with the rest; `stdio` as uv.spawn takes it. on_exit(status, signal). Raises when it cannot.
function processes.start(words, stdio, on_exit)
  -- setpriv: a process that is killed takes its children along. Detached: Ctrl-C and Ctrl-Z at the terminal are for
  -- the console alone.
  local list = table.move(words, 1, #words, 3, { "--pdeathsig", "KILL" })
  local own = {}
  own.handle, own.pid = uv.spawn("setpriv", { args = list, stdio = stdio, env = environment(), detached = true },
    function(status, signal)
      own.has_ended = true
      if not own.handle:is_closing() then own.handle:close() end
      if on_exit then on_exit(status, signal) end
    end)
  if not own.handle then error(("cannot start %s: %s"):format(words[1], tostring(own.pid)), 0) end
  function own.kill(signal)
    if own.has_ended then return end
    own.is_killed = own.is_killed or signal == "sigkill"
    uv.kill(own.pid, signal)
  end
  return own
end

return processes
