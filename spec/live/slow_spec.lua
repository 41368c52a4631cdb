-- A network in which each answer comes late. The long form: ./dev soak slow.
-- limit: 180 s
local pkis = require "support.pki"
local scene = require "live.support.scene"
local slow = require "live.support.slow"
local slow_watch = require "live.support.slow_watch"
local tree = require "support.tree"

describe("where every answer comes 1.2 s late", function()
  local pki

  setup(function() pki = pkis.usual() end)
  teardown(function() tree.remove(pki.folder) end)

  local function holds(is_tls)
    return scene.play(function()
      local options = { delay_s = 1.2, ttl = 15, seconds = 8, pki = is_tls and pki or nil }
      local result = slow.run(options)
      assert.is_nil(result.trouble)
      print(slow.line(options, result))
    end)
  end

  it("a session of 15 s, a lock and a term are held in plaintext", holds(false))

  it("and over mutual TLS, whose handshake takes two answers more", holds(true))
end)

describe("a client that only watches, of three members far away,", function()
  local function goes_on(options)
    return scene.play(function()
      local result = slow_watch.run(options)
      print(slow_watch.line(options, result))
      assert.equal(0, result.replaced)
    end)
  end

  it("stays where it is when answers come 1.2 s late", goes_on { delay_s = 1.2, events = 3, pause_s = 3 })

  it("and when they come 3 s late", goes_on { delay_s = 3, events = 3, pause_s = 3 })

  it("and over mutual TLS, as a user", goes_on { delay_s = 3, events = 2, pause_s = 3, is_secured = true })
end)
