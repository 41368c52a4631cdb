local ports = require "support.ports"
local process = require "support.process"
local uv = require "luv"

describe("ports", function()
  it("are free, and never given twice", function()
    local seen = {}
    for _ = 1, 50 do
      local port = ports.free()
      assert.is_nil(seen[port])
      seen[port] = true
      local socket = uv.new_tcp()
      assert(socket:bind("127.0.0.1", port))
      assert(socket:listen(1, function() end))
      socket:close()
    end
  end)

  it("stay with the process they were given to, also while nothing listens on them", function()
    local port = ports.free()
    local choose = [[
      local uv = require "luv"
      local port = %d
      -- Two bytes of chance that lead to this port, then others.
      local drawn = port - 15000
      uv.random = function()
        local high, low = drawn // 256, drawn %% 256
        drawn = drawn + 1
        return string.char(high, low)
      end
      print(require("support.ports").free())
    ]]
    local output = process.run { "lua5.4", "-e", choose:format(port) }
    assert.matches("^%d+\n$", output)
    assert.not_equal(port, tonumber(output))
  end)
end)
