-- What a list of endpoints may hold, and what is said of one that cannot be used.
local etcd = require "support.etcd"
local scene = require "live.support.scene"

describe("a list of endpoints", function()
  it("of two clusters is an error that says which belongs where", scene.play(function()
    local one, other = etcd.start(), etcd.start { flags = { "--initial-cluster-token", "another" } }
    local client = scene.connect { one.endpoint, other.endpoint }
    local message, code
    scene.eventually(function()
      local _
      _, message, code = client:session { ttl = 2 }
      return code == "invalid"
    end)
    assert.matches("the endpoints are of two clusters: 127%.0%.0%.1:%d+ belongs to cluster %x+, 127%.0%.0%.1:%d+ to %x+", message)
  end))

  it("with one that does not answer works, and names it once", scene.play(function()
    local server, lines = etcd.start(), {}
    local client = scene.connect({ server.endpoint, "127.0.0.1:1" }, function(line) lines[#lines + 1] = line end)
    assert(client:put("/endpoints", "x"))
    local function said()
      local n = 0
      for _, line in ipairs(lines) do
        if line:find("the endpoint 127.0.0.1:1 cannot be used", 1, true) then n = n + 1 end
      end
      return n
    end
    scene.eventually(function() return said() > 0 end)
    assert.equal(1, said())
  end))
end)
