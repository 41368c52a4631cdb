-- Plays experiments with `lunarch lab`, for specs.
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"

local play = {}

play.folder = tree.root .. "/examples/lab/"
play.names = { "stop", "crash", "pause", "cut", "freeze" }

-- What takes the place of the fault of each, where it is left out.
local FAULTS = {
  stop = "stop%(a%)", crash = "kill%(a%)", pause = "pause%(a, 6%)", cut = "cut%(a%)", freeze = "freeze%(member, 6%)",
}

function play.text_of(name) return tree.read(play.folder .. name .. ".lua") end

-- The experiment without its fault.
function play.without_fault(name)
  local text, n = play.text_of(name):gsub("\n" .. FAULTS[name] .. "\n", "\n")
  assert(n == 1, "the fault of " .. name .. " stands on one line")
  return text
end

---@return string output, integer status
function play.file(path, ...)
  local child = process.start { "lunarch", "lab", path, ... }
  local status = child:wait_exit()
  return child:output(), status
end

---@return string output, integer status
function play.sim(text, ...)
  return play.file(script.write(text, "experiment.lua"), "--sim", ...)
end

-- What happened, without the instants: who, and the first words. A story is the same live and in the simulator.
function play.story(output)
  local lines = {}
  for who, text in output:gmatch "\n *%d+%.%d%d%d  (%S*) +([^\n]*)" do
    local fault = text:match "^killed" or text:match "^cut off" or text:match "^paused" or text:match "^told to stop"
      or text:match "^frozen" or text:match "^runs again" or text:match "^every cut"
    local known = text:match "^elected, token" or text:match "^on_lost %(%a+%)" or fault
    if known then lines[#lines + 1] = (fault and who:match "^m" and "m" or who) .. " " .. known end
  end
  return table.concat(lines, "\n")
end

return play
