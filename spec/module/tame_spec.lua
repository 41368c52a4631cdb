-- What others have chosen, in texts that are put together in Lua, commands no terminal.
local args = require "lunarch.internal.args"
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local process = require "support.process"

local RUDE, TAME = "\27]0;x\7\194\155\127", "?]0;x????"

describe("control characters of others", function()
  local client, server

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(process.end_all)

  it("are shown as question marks in what is raised, newlines and tabs as they are", function()
    local _, err = pcall(args.misuse, "about %s\n\tand more", RUDE)
    assert.truthy(err:find("about " .. TAME .. "\n\tand more", 1, true))
    _, err = pcall(lunarch.connect, { [RUDE] = 1 })
    assert.truthy(err:find(TAME, 1, true))
  end)

  it("and in how an answer of etcd's prints", function()
    assert(client:put("/tame/" .. RUDE, RUDE))
    local _, kv = assert(client:get("/tame/" .. RUDE))
    local text = tostring(kv)
    assert.truthy(text:find("/tame/" .. TAME .. " = ", 1, true))
    assert.is_nil(text:find "[%c\155]", text)
    assert.equal(RUDE, kv.value)
  end)

  it("and on stderr, where a program has no log", function()
    local output, status = process.run { "lua", "-e", [[
      require("lunarch.internal.say").line("%s leads", os.getenv "RUDE")
      local candidate = require("lunarch").candidate {
        election = "/tame/line", endpoints = os.getenv "ENDPOINT", name = "A",
        on_elected = function() error("by " .. os.getenv "RUDE", 0) end,
      }
      require("lunarch").run(function()
        require("lunarch").spawn(candidate.run, candidate)
        require("lunarch").sleep(0.5)
        candidate:stop()
      end)
    ]], env = { RUDE = RUDE, ENDPOINT = server.endpoint } }
    assert.equal(0, status, output)
    assert.truthy(output:find("lunarch: " .. TAME .. " leads\n", 1, true))
    assert.truthy(output:find("by " .. TAME, 1, true), output)
    assert.is_nil(output:find "[%z\1-\8\11-\31\127\155]")
  end)

  it("and in the words of a switchover", function()
    local session = assert(client:session { ttl = 60 })
    local term = assert(session:election "/tame/handed":campaign(RUDE))
    local handover = require "lunarch.handover"
    local places = assert(handover.places(client, "/tame/handed"))
    assert.equal(RUDE, handover.who(places[1]))
    local ok, why = handover.ask(client, "/tame/handed", { to = RUDE, within = 5 })
    assert.is_nil(ok)
    assert.truthy(why:find(TAME .. " leads already", 1, true), why)
    assert(term:resign(5))
  end)
end)
