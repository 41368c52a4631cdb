-- A network in which each answer comes late. The long form: ./dev soak slow.
-- limit: 180 s
local pkis = require "support.pki"
local scene = require "live.support.scene"
local slow = require "live.support.slow"
local tree = require "support.tree"

describe("where every answer comes 1.2 s late", function()
  local pki

  setup(function() pki = pkis.usual() end)
  teardown(function() tree.remove(pki.folder) end)

  local function holds(is_tls, life_s)
    return scene.play(function()
      local options = {
        delay_s = life_s and 1 or 1.2, ttl = 15, seconds = life_s and 16 or 8, pki = is_tls and pki or nil,
        life_s = life_s,
      }
      local result = slow.run(options)
      assert.is_nil(result.trouble)
      print(slow.line(options, result))
    end)
  end

  it("a session of 15 s, a lock and a term are held in plaintext", holds(false))

  it("and over mutual TLS, whose handshake takes two answers more", holds(true))

  it("and by a user whose signed tokens live for three answers only", holds(false, 3))
end)
