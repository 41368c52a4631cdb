-- What a term had under way when it was lost, with an etcd that does not answer any more.
local etcd = require "support.etcd"
local lunarch = require "lunarch"

describe("a term that is lost while etcd is silent", function()
  local server, client

  before_each(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint })
  end)

  after_each(function()
    server:thaw()
    client:close(5)
    server:stop()
  end)

  local function lose(ask)
    local session = assert(client:session { ttl = 4 })
    local term = assert(session:election("/loss"):campaign "A")
    server:freeze()
    local ok, message, code = ask(term)
    assert.is_nil(ok)
    assert.equal("expired", term.reason)
    return message, code
  end

  it("answers a put that has no timeout: it may have been carried out", function()
    local message, code = lose(function(term) return term:put("/k", "v") end)
    assert.equal("unknown", code)
    assert.equal(
      "txn /loss: the term was lost before the reply: the write may or may not have been carried out", message)
  end)

  it("answers a proclaim that has no timeout", function()
    local _, code = lose(function(term) return term:proclaim "B" end)
    assert.equal("lost", code)
  end)
end)
