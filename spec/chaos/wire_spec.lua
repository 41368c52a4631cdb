-- Networks that the kernel itself makes silent and slow, where namespaces are allowed.
-- needs: network
local process = require "support.process"
local tree = require "support.tree"

local function in_own_net(...)
  return process.run { tree.root .. "/spec/chaos/own_net.sh", ... }
end

describe("a candidate's wire", function()
  it("lets all pass, nothing, little, and all again", function()
    local output, status = in_own_net("lua5.4", tree.root .. "/spec/chaos/wire_check.lua")
    assert.equal(0, status, output)
    if output == "not allowed\n" then return pending "no network namespaces may be made here" end
    local well = "well whole [%d.]+\n"
    local slow = output:match("^" .. well .. "silent nothing [%d.]+\n" .. well .. "slow (%a+ [%d.]+)\n" .. well .. "$")
    assert.is_not_nil(slow, output)
    assert.is_true(slow:find "nothing" ~= nil or tonumber(slow:match "%S+$") > 0.5, output)
  end)

  it("is nobody's business outside", function()
    local output = in_own_net("sh", "-c", "echo $LUNARCH_CHAOS_NET; ip link 2>/dev/null | grep -c wire")
    assert.is_true(output == "own\n0\n" or output:sub(1, 1) == "\n", output)
  end)
end)
