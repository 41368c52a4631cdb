-- limit: 60 s
-- The console whose stdin, stdout or stderr is closed, leads elsewhere or fails.
local process = require "support.process"
local terminal = require "support.terminal"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("the console", function()
  after_each(function()
    terminal.end_all()
    process.end_all()
  end)

  for _, streams in ipairs { ">&-", "2>&-", ">&- 2>&-", ">/dev/null", "2>/dev/null", ">/dev/null 2>&1" } do
    it("evaluates what is typed, is interrupted and ends by Ctrl-D with " .. streams, function()
      local path = tree.folder() .. "/done"
      local t = terminal.start { "sh", "-c", ("exec %s console --sim %s"):format(tree.program, streams) }
      t:type(("io.open(%q, 'w'):write('once'):close()\r"):format(path))
      wait.eventually(function() return uv.fs_stat(path) end)
      t:type(("os.remove(%q) while true do end\r"):format(path))
      wait.eventually(function() return not uv.fs_stat(path) end)
      t:type "\3"
      -- What is typed before the interrupt has been heard is dropped.
      wait.eventually(function()
        t:type(("io.open(%q, 'w'):write('twice'):close()\r"):format(path))
        wait.pass(0.2)
        return uv.fs_stat(path)
      end)
      t:type "\4"
      assert.equal(0, t:wait_exit())
    end)
  end

  local function sh(command, ...)
    return process.run { "sh", "-c", command, tree.program, ... }
  end

  it("says that stdin cannot be read, and ends at once where there is none", function()
    for _, command in ipairs { "$0 console --sim", "$0 -" } do
      local output, status = sh(command .. " 0>/dev/null")
      assert.truthy(output:find("^lunarch: cannot read stdin: Bad file descriptor\n"), output)
      assert.truthy(status ~= 0)
      output, status = sh(command .. " </")
      assert.truthy(output:find("^lunarch: cannot read stdin: Is a directory\n"), output)
      assert.truthy(status ~= 0)
      output, status = sh(command .. " <&-")
      assert.same({ "", 0 }, { output, status })
    end
  end)

  it("has failed, like every command, where what it prints cannot be written", function()
    for _, words in ipairs { "console --sim", "help", "version", "list --help", "lab --sim examples/lab/stop.lua" } do
      local output, status = sh(("cd '%s' && echo 1+1 | $0 %s >/dev/full"):format(tree.root, words))
      assert.truthy(output:find "lunarch: cannot write to stdout", words .. ": " .. output)
      assert.equal(1, status, words)
    end
  end)
end)
