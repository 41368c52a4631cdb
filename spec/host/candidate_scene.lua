-- A candidate against an election in memory, under virtual time: what the specs of its driver begin with.
local fake = require "host.fake_lunarch"

local scene = {}

local world, candidate, calls

-- Before each: the world, and the list of the calls that handlers told of.
function scene.begin()
  world = fake.new()
  package.loaded["lunarch"] = world.lunarch
  package.loaded["lunarch.candidate"] = nil
  candidate = require "lunarch.candidate"
  calls = {}
  return world, calls, candidate
end

-- After each.
function scene.finish()
  package.loaded["lunarch"], package.loaded["lunarch.candidate"] = nil, nil
end

-- What a handler tells.
function scene.call(name, ...)
  calls[#calls + 1] = table.concat({ name, ... }, " ")
  world:note(name, ...)
end

-- A candidate all of whose handlers tell that they were called; `own` are handlers and settings beside them.
function scene.make(own)
  local options = {
    election = "/e", name = "A", log = world.log,
    on_elected = function(term) scene.call("on_elected", term.token) end,
    do_work = function(term) scene.call("do_work", term.token) end,
    on_lost = function(term, reason) scene.call("on_lost", term.token, reason) end,
  }
  for name, value in pairs(own or {}) do options[name] = value or nil end
  return candidate(options)
end

-- Runs it, and stops it at that time.
function scene.run(c, stop_at)
  world:at(stop_at, function() c:stop() end)
  world:run(function() c:run() end)
end

function scene.sleep(seconds) return world.lunarch.sleep(seconds) end

return scene
