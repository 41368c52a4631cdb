-- limit: 180 s
-- What a leader's handlers have run (lunarch.exec) is gone before the place may be another's: checked from outside, by
-- the last sign of life of a process that ignores SIGTERM.
local clock = require "support.clock"
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local wait = require "support.wait"

local TTL = 6
local MARGIN = TTL / 10

-- hang(name): a command that never ends, ignores SIGTERM, and writes the clock down all the time.
local HANG = [[
  function hang(name, term)
    print("hang " .. name)
    local beat = "exec lua5.4 " .. os.getenv "BEAT" .. " " .. os.getenv "FOLDER" .. "/" .. name
    return lunarch.exec { "sh", "-c", "trap '' TERM; " .. beat, term = term }
  end
]]

local BEAT = [[
  local clock = require "support.clock"
  local file = assert(io.open(arg[1], "w"))
  while true do
    file:seek "set"
    file:write(("%.6f %s\n"):format(clock.now(), io.open "/proc/self/stat":read "*n"))
    file:flush()
    require "luv".sleep(2)
  end
]]

describe("what a leader has run", function()
  local server, folder, beat
  local n = 0

  setup(function()
    server = etcd.start()
    beat = script.write(BEAT, "beat.lua")
  end)
  teardown(function() server:stop() end)
  before_each(function() folder, n = tree.folder(), n + 1 end)
  after_each(function()
    process.end_all()
    server:thaw()
  end)

  local function start(text)
    return script.start(HANG .. text, {
      "--endpoints", server.endpoint, "--election", "/exec/" .. n, "--name", "A", "--ttl", tostring(TTL),
      env = { BEAT = beat, FOLDER = folder },
    })
  end

  local function last_beat(name)
    local at, pid = tree.read(folder .. "/" .. name):match "^(%S+) (%d+)\n"
    return tonumber(at), tonumber(pid)
  end

  local function has_begun(name)
    wait.eventually(function() return last_beat(name) end, nil, name .. " to begin")
  end

  -- The renewals ended at `cut_at` at the latest.
  local function is_gone_in_time(name, cut_at)
    local _, pid = last_beat(name)
    wait.eventually(function() return not process.is_running(pid) end, nil, name .. " to be gone")
    assert.is_true(last_beat(name) < cut_at + TTL - MARGIN)
  end

  it("in do_work and in on_lost is gone before the place may be another's", function()
    local child = start [[
      function do_work() hang "work" end
      function on_lost()
        local _, _, code = hang "lost"
        print("ended " .. code)
      end]]
    has_begun "work"
    local cut_at = clock.now()
    server:freeze()
    child:wait_line "^hang lost"
    is_gone_in_time("work", cut_at)
    assert.equal("ended lost", child:wait_line "^ended".text)
    is_gone_in_time("lost", cut_at)
  end)

  it("is gone in time though the program stands still", function()
    local child = start [[ function do_work() hang "work" end ]]
    has_begun "work"
    child:freeze()
    is_gone_in_time("work", clock.now())
    child:thaw()
    child:wait_line "^hang work" -- of the first term
  end)

  it("is gone in time though the script never waits", function()
    start [[ function do_work(term)
      lunarch.spawn(function() hang("work", term) end)
      lunarch.sleep(2)
      while true do end
    end ]]
    has_begun "work"
    wait.pass(2)
    local cut_at = clock.now()
    server:freeze()
    is_gone_in_time("work", cut_at)
  end)

  it("lives as long as the session, which goes on being renewed while the script is busy", function()
    start(([[ function do_work(term)
      lunarch.spawn(function() hang("work", term) end)
      lunarch.sleep(1)
      local until_s = lunarch.now() + %d
      while lunarch.now() < until_s do end
      print "not busy any more"
      lunarch.sleep(100)
    end ]]):format(TTL + 2)):wait_line "not busy"
    local before = last_beat "work"
    wait.eventually(function() return last_beat "work" > before end)
  end)

  it("ends with the program, in order, and before its on_lost", function()
    local child = start [[
      function do_work() hang "work" end
      function on_lost() print(lunarch.exec { "echo", "undone" }.stdout) end]]
    has_begun "work"
    local _, pid = last_beat "work"
    child:signal "sigterm"
    child:wait_line "undone"
    assert.is_false(process.is_running(pid))
    assert.equal(0, (child:wait_exit()))
  end)
end)
