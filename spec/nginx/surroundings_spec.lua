-- What nginx.conf and other code around lunarch may do to it: a shared dict that others flush or fill, no code cache,
-- threads of nginx's pool, an nginx without a master.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local SINGLETON = [[
  lua_shared_dict lunarch SIZE;
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    function note(what)
      local file = io.open(os.getenv "JOURNAL", "a")
      file:write(ngx.worker.pid(), " ", what, "\n")
      file:close()
    end
    job = lunarch.singleton {
      election = os.getenv "ELECTION", endpoints = os.getenv "ENDPOINT", interval = 0.01, value = "here",
      on_elected = function() note "elected" end,
      do_work = function() return 0.02 end,
      on_lost = function(_, reason) note("lost " .. reason) end,
    }
  }
  exit_worker_by_lua_block { lunarch.exit_worker(5) }
]]

local SERVER = [[
  location = /is-leader { content_by_lua_block { ngx.print(tostring(job:is_leader())) } }
  location = /flush { content_by_lua_block { ngx.shared.lunarch:flush_all() ngx.shared.lunarch:flush_expired() } }
  location = /fill { content_by_lua_block {
    for i = 1, 2000 do ngx.shared.lunarch:set("other" .. math.random(1e6), ("x"):rep(100)) end
  } }
]]

describe("in nginx", function()
  local client, server, web, journal
  local n_elections = 0

  setup(function() client, server = fixture.open() end)
  teardown(fixture.close)
  after_each(nginx.stop_all)
  before_each(function()
    journal = tree.folder() .. "/journal"
    n_elections = n_elections + 1
  end)

  local function start(changes, size)
    local options = {
      http = SINGLETON:gsub("SIZE", size or "1m"), server = SERVER,
      env = { ENDPOINT = server.endpoint, JOURNAL = journal, ELECTION = "/surroundings/" .. n_elections },
    }
    for name, value in pairs(changes or {}) do
      options[name] = value
    end
    web = nginx.start(options)
  end

  local function count(what)
    local _, n = tree.read(journal):gsub(what, "")
    return n
  end

  local function await_leader()
    wait.eventually(function() return count "elected" == 1 and select(2, web:get "/is-leader") == "true" end)
  end

  for what, size in pairs { flush = "1m", fill = "64k" } do
    it("a singleton stays what it is when others " .. what .. " its dict, and says that it wants its own", function()
      start({}, size)
      await_leader()
      for _ = 1, 5 do
        web:get("/" .. what)
        wait.pass(0.1)
        await_leader()
      end
      -- Two beats of the one that stands.
      wait.pass(1.2)
      await_leader()
      assert.equal(0, count "lost")
      assert.is_true(#web:lines "the shared dict 'lunarch' .*give lunarch a dict of its own" > 0)
      assert.equal(0, #web:lines "was not heard of")
    end)
  end

  it("a Lua state for each request is an error in the log, once for each worker", function()
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint }, http = "lua_code_cache off;",
      server = [[ location = /x { content_by_lua_block { ngx.print(tostring(require "lunarch" ~= nil)) } } ]],
    }
    for _ = 1, 4 do
      assert.same({ 200, "true" }, { web:get "/x" })
    end
    assert.equal(1, #web:lines "%[error%].*a second Lua state of this worker loads lunarch: with lua_code_cache off")
  end)

  it("reloads are no second Lua state", function()
    web = nginx.start {
      workers = 1, http = [[ init_by_lua_block { require "resty.lunarch" } ]],
      server = [[ location = /x { content_by_lua_block { ngx.print(tostring(require "lunarch" ~= nil)) } } ]],
    }
    for _ = 1, 2 do
      assert.same({ 200, "true" }, { web:get "/x" })
      web:reload()
    end
    assert.equal(0, #web:lines "a second Lua state")
  end)

  it("calls block in a thread of nginx's pool, and hold up nothing else", function()
    web = nginx.start {
      workers = 1, main = "thread_pool apart threads=2; env ENDPOINT=" .. server.endpoint .. ";",
      modules = { job = [[
        local job = {}
        function job.put(endpoint, value)
          local lunarch = require "lunarch"
          local client = assert(lunarch.connect { endpoints = endpoint })
          assert(client:put("/surroundings/thread", value, nil, 60))
          local session = assert(client:session({ ttl = 60 }, 60))
          local mutex = session:mutex "/surroundings/threads"
          assert(mutex:lock(60))
          mutex:unlock(60)
          lunarch.sleep(0.01)
          client:close(60)
          return "done " .. tostring(pcall(require, "resty.lunarch"))
        end
        return job
      ]] },
      server = [[ location = /x { content_by_lua_block {
        local ok, result = ngx.run_worker_thread("apart", "job", "put", os.getenv "ENDPOINT", "v")
        ngx.print(tostring(ok), " ", tostring(result))
      } } ]],
    }
    for _ = 1, 3 do
      local request = web:open "/x"
      assert.equal(200, (web:get "/ready"))
      assert.same({ 200, "true done false" }, { request:wait() }, web:log())
    end
    assert.equal("v", (client:get "/surroundings/thread"))
  end)

  for what, end_it in pairs {
    ["a fast shutdown"] = function() uv.kill(web.pid, "sigterm") end,
    ["an nginx without a master"] = function() uv.kill(web.pid, "sigquit") end,
  } do
    it("on_lost is called in exit_worker_by_lua where nginx gives no time to end: " .. what, function()
      start { workers = 1, main = what:find "master" and "master_process off;" or "" }
      await_leader()
      end_it()
      wait.eventually(function() return not web:is_running() end)
      assert.equal(1, count "lost the worker leaves")
      assert.equal(0, #client:get("/surroundings/" .. n_elections, { prefix = true }))
    end)
  end
end)
