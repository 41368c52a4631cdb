-- What resty.lunarch.new gives: the client and the session of a worker.
local etcd = require "support.etcd"
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local wait = require "support.wait"

local SHARED = [[
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    endpoint = os.getenv "ENDPOINT"
    function new(changes)
      local options = { endpoints = endpoint, ttl = 60 }
      for name, value in pairs(changes) do options[name] = value end
      return assert(lunarch.new(options))
    end
    function tell(own, message, code) ngx.print(own and "locked" or code .. ": " .. message) end
  }
]]

describe("the worker's own of resty.lunarch", function()
  local server, web

  setup(function() server = select(2, fixture.open()) end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function start(text, endpoint)
    web = nginx.start {
      workers = 1, http = SHARED, env = { ENDPOINT = endpoint or server.endpoint },
      server = ("location = /x { content_by_lua_block { %s } }"):format(text),
    }
  end

  it("is the same for the same options, and another for others, however they are divided", function()
    start [[
      local a, b = new { user = "a b", password = "c" }, new { user = "a", password = "b c" }
      ngx.print(tostring(a == b), tostring(a == new { user = "a b", password = "c" }))
    ]]
    assert.same({ 200, "falsetrue" }, { web:get "/x" })
  end)

  it("is refused at the caller's line where its times do not fit", function()
    start [[ ngx.print(select(2, pcall(lunarch.new, { ttl = 5, grace = 4 }))) ]]
    local _, message = web:get "/x"
    assert.matches("^content_by_lua.*resty.lunarch.new: 'grace' must be at most half the ttl of 5 s, not 4$", message)
  end)

  it("is an error in the log when each request makes one of its own", function()
    start [[ new { name = "request " .. ngx.var.arg_n } ]]
    for i = 1, 16 do
      web:get("/x?n=" .. i)
    end
    assert.same({}, web:lines "%[error%]")
    web:get "/x?n=17"
    assert.equal(1, #web:lines "%[error%].*new has made 17 clients in this worker, one for each set of options")
  end)

  it("is made anew after its client was closed", function()
    start [[ local here = new {} tell(here:lock("/worker/closed", 5)) here.client:close() ]]
    for _ = 1, 3 do
      assert.same({ 200, "locked" }, { web:get "/x" })
    end
  end)

  it("locks without time to wait, its session not being open yet", function()
    start [[ tell(new({}):lock("/worker/at-once", 0)) ]]
    -- No more than a second is waited for etcd, which may be slow.
    local _, answer = web:get "/x"
    assert.is_truthy(answer == "locked" or answer:find("within 1 s", 1, true), answer)
  end)

  it("is served at once where nothing of lunarch runs in the worker yet", function()
    -- A look that comes once a second never comes: nothing may wait for it.
    start [[
      local semaphore = require "ngx.semaphore"
      local new = semaphore.new
      function semaphore.new(...)
        local own = new(...)
        return {
          wait = function(_, seconds) return own:wait(seconds > 0.9 and seconds <= 1 and 3600 or seconds) end,
          post = function(_, n) return own:post(n) end, count = function() return own:count() end,
        }
      end
      tell(_G.new({}):lock("/worker/first", 50))
    ]]
    assert.same({ 200, "locked" }, { web:get "/x" })
  end)

  it("blames no limit of nginx's where a worker takes long to begin", function()
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint },
      http = SHARED:gsub("function tell", [[
        new {}
        os.execute "sleep 1.2"
        new { ttl = 30 }
        %0]]),
      server = "location = /x { content_by_lua_block { tell(new({}):lock('/worker/late', 50)) } }",
    }
    assert.same({ 200, "locked" }, { web:get "/x" })
    assert.same({}, web:lines "%[error%]")
  end)

  it("serves in exit_worker_by_lua too, where nothing of lunarch may have begun", function()
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint },
      http = SHARED .. [[
        exit_worker_by_lua_block {
          local here = new {}
          for _ = 1, 2 do
            local own, _, code = here:lock("/worker/exit", 30)
            ngx.log(ngx.ERR, "at the end: ", own and "held" or code)
          end
          lunarch.exit_worker(5)
        } ]],
    }
    web:quit()
    assert.equal(1, #web:lines "at the end: held")
    assert.equal(1, #web:lines "at the end: locked")
  end)

  it("opens its session although what opened it was ended, by a trace function, which is called again", function()
    local own = etcd.start()
    start([[
      local is_first = true
      local here = new { trace = function()
        if is_first and package.loaded.is_ending then is_first = false ngx.exit(0) end
        if not is_first then ngx.log(ngx.ERR, "traced after the end") end
      end }
      ngx.timer.at(0.2, function() package.loaded.is_ending = true end)
      tell(here:lock("/worker/ended", 30))
    ]], own.endpoint)
    own:freeze()
    local request = web:open "/x"
    wait.eventually(function() return #web:lines "was ended, by ngx.exit" > 0 end, nil, "the end of the hub")
    own:thaw()
    assert.same({ 200, "locked" }, { request:wait() })
    assert.is_true(#web:lines "traced after the end" > 0)
    own:stop()
  end)
end)
