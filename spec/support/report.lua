-- busted's output handler for our runner: one line per event into the file named by LUNARCH_REPORT, each flushed,
-- so that a process that dies shows how far it came. The line `end` proves that the plan was completed.
--
--   start NAME | passed SECONDS NAME | failed SECONDS NAME | skipped SECONDS NAME | "| text" | end
--   why REASON, before the line of a spec that is skipped
local busted = require "busted"
local pretty = require "pl.pretty"

local function full_name(element)
  local names = {}
  while element and element.descriptor ~= "file" and element.descriptor ~= "suite" do
    table.insert(names, 1, element.name or element.descriptor)
    element = busted.parent(element)
  end
  return (table.concat(names, " "):gsub("%s+", " "))
end

return function()
  local handler = {}
  local out = assert(io.open(assert(os.getenv "LUNARCH_REPORT", "run specs by ./dev test"), "a"))
  out:setvbuf "line"
  local started_at = 0
  local troubles = {}

  local function write_trouble(trouble)
    for line in trouble:gmatch "[^\n]+" do
      out:write("| ", line, "\n")
    end
  end

  local function describe(message, trace)
    local text = message == nil and "error without a message" or message
    if type(text) ~= "string" then text = pretty.write(text) end
    return text .. "\n" .. (trace and trace.traceback or "")
  end

  local function on_trouble(element, _, message, trace)
    local trouble = describe(message, trace)
    if element.descriptor == "it" then
      troubles[#troubles + 1] = trouble
    else
      out:write("failed 0 ", element.descriptor, ": ", full_name(element), "\n")
      write_trouble(trouble)
    end
    return nil, true
  end

  local function on_pending(_, _, message)
    if type(message) ~= "string" then return nil, true end
    out:write("why ", (message:gsub("^%S+:%d+: ", ""):gsub("%s+", " "):gsub(" $", "")), "\n")
    return nil, true
  end

  local outcome = { success = "passed", pending = "skipped" }

  local function on_start(element)
    started_at = busted.gettime()
    troubles = {}
    out:write("start ", full_name(element), "\n")
    return nil, true
  end

  local function on_end(element, _, status)
    out:write(("%s %.2f %s\n"):format(outcome[status] or "failed", busted.gettime() - started_at, full_name(element)))
    for _, trouble in ipairs(troubles) do
      write_trouble(trouble)
    end
    return nil, true
  end

  function handler.subscribe()
    require "busted.languages.en"
    busted.subscribe({ "test", "start" }, on_start)
    busted.subscribe({ "test", "end" }, on_end)
    busted.subscribe({ "pending" }, on_pending)
    busted.subscribe({ "failure" }, on_trouble)
    busted.subscribe({ "error" }, on_trouble)
    busted.subscribe({ "suite", "end" }, function()
      out:write "end\n"
      return nil, true
    end)
  end

  return handler
end
