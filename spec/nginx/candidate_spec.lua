-- A candidate that is run in a timer, with no singleton to look after it.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local wait = require "support.wait"

describe("in nginx, a candidate that is run in a timer", function()
  local client, server, web

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function start(election)
    web = nginx.start {
      env = { ENDPOINT = server.endpoint, TMPDIR = "PREFIX" },
      http = ([[
        init_worker_by_lua_block {
          if ngx.worker.id() ~= 0 then return end
          local lunarch = require "lunarch"
          ngx.timer.at(0, function()
            lunarch.candidate({
              election = "%s", ttl = 60, endpoints = os.getenv "ENDPOINT",
              on_elected = function() ngx.log(ngx.ERR, "SPEC elected") end,
              do_work = function() return 60 end,
              on_lost = function(_, reason) ngx.log(ngx.ERR, "SPEC lost ", reason) end,
            }):run()
          end)
        }
      ]]):format(election),
      server = "location = /x { return 200; }",
    }
    wait.eventually(function() return #web:lines "SPEC elected" == 1 end)
  end

  it("loses its term in order when nginx quits, and the worker leaves", function()
    start "/candidate/quit"
    web:quit()
    assert.equal(1, #web:lines "SPEC lost stopping")
    assert.equal(0, #client:get("/candidate/quit/", { prefix = true }))
  end)

  it("hands over to the next worker when nginx is reloaded", function()
    start "/candidate/reload"
    nginx.wait_gone(web:reload())
    wait.eventually(function() return #web:lines "SPEC elected" == 2 end)
    assert.equal(1, #web:lines "SPEC lost stopping")
  end)
end)
