local uv = require "luv"
local ports = require "support.ports"

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
end)
