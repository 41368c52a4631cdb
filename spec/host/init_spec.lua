-- The program as the first process of a container: it reaps what others have left, and hands signals on.
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local vm = require "support.vm"
local wait = require "support.wait"

describe("as the first process", function()
  after_each(process.end_all)

  local function start(text)
    return process.start {
      "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", tree.program, script.write(text),
    }
  end

  local _, may_unshare = vm.shell "unshare --pid --fork --mount-proc true 2>&1"

  local function wanted(name, fn)
    it(name, function()
      if not may_unshare then return pending "no pid namespace may be made here" end
      fn()
    end)
  end

  wanted("the program reaps orphans, and not its own children", function()
    local child = start [[
      assert(lunarch.exec { "true" })
      local lives = os.tmpname()
      os.execute("setsid sh -c 'sleep 0.2; rm " .. lives .. "' & true")
      local pipe = io.popen "exit 3"
      print("popen", select(3, pipe:close()))
      local function n_zombies() return io.popen "ps -eo stat= | grep -c '^Z'":read "n" end
      repeat lunarch.sleep(0.1) until not io.open(lives) and n_zombies() == 0
      print "no zombies"
      os.exit(7)]]
    assert.equal("popen\t3", child:wait_line "popen".text)
    child:wait_line "no zombies"
    assert.equal(7, (child:wait_exit()))
  end)

  wanted("the program hears signals, and its status is handed out", function()
    local child = start [[ print "up" lunarch.sleep(1000) ]]
    child:wait_line "up"
    local inner = vm.shell(("pgrep -P %d"):format(child.pid))
    assert(require "luv".kill(tonumber(inner:match "%d+"), "sigterm"))
    child:wait_exit(wait.LIMIT)
  end)
end)
