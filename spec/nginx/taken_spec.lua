-- An answer that says "it is yours" is asked again when the light thread that waited for it goes on.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local wait = require "support.wait"

describe("an answer that is taken late inside nginx", function()
  local client, server

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  -- Another request's light thread holds the worker up, once the answer has been dispatched.
  local PRELUDE = [[
    local lunarch = require "lunarch"
    local core = require "lunarch.core"
    local world = require "lunarch.loop.nginx"
    local client = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
    local session = assert(client:session { ttl = 2 })
    local own = world.wake
    function world.wake(wait)
      own(wait)
      if world.wake == own then return end
      world.wake = own
      os.execute("kill -STOP " .. os.getenv "ETCD")
      local until_s = core.now() + 2.2
      repeat core.sleep(0.05) until core.now() > until_s
      os.execute("kill -CONT " .. os.getenv "ETCD")
    end
  ]]

  for what, call in pairs {
    lock = [[session:mutex("/late/lock"):lock(5)]],
    campaign = [[session:election("/late/campaign"):campaign("A", 5)]],
    session = [[client:session({ ttl = 2 }, 5)]],
  } do
    it("is no win: " .. what, function()
      local web = nginx.start {
        workers = 1,
        env = { ENDPOINT = server.endpoint, ETCD = tostring(server.pid) },
        server = ([[
          location = /late { content_by_lua_block {
            %s
            local value, message, code = %s
            ngx.print(tostring(value), " ", code, " ", message)
          } }
        ]]):format(PRELUDE, call),
      }
      local status, body = web:get "/late"
      assert.equal(200, status, web:log())
      assert.matches("^nil lost .*: it was %l+, and lost before the answer was taken: %l+$", body)
      wait.eventually(function()
        return #assert(client:get("/late/", { prefix = true, keys_only = true })) == 0
      end)
    end)
  end
end)
