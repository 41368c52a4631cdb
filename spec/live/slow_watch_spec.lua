-- A watch over networks in which each answer comes late: it is there in the end, and stays where it is.
-- limit: 240 s
local scene = require "live.support.scene"
local slow_watch = require "live.support.slow_watch"

describe("a client that only watches, of three members far away,", function()
  local function goes_on(options)
    return scene.play(function()
      local result = slow_watch.run(options)
      print(slow_watch.line(options, result))
      assert.equal(0, result.replaced)
    end)
  end

  it("stays where it is when answers come 1.2 s late", goes_on { delay_s = 1.2, events = 2, pause_s = 3 })

  it("and when they come 3 s late", goes_on { delay_s = 3, events = 2, pause_s = 3 })

  it("and over mutual TLS, as a user", goes_on { delay_s = 3, events = 2, pause_s = 3, is_secured = true })
end)
