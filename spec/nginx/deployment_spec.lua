-- nginx as it is deployed: its workers without rights, several servers and elections in one worker, and etcd away when
-- it starts, while it serves, or when it ends.
local etcd = require "support.etcd"
local nginx = require "support.nginx"
local ports = require "support.ports"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("nginx as it is deployed", function()
  local server, web

  before_each(function() server = etcd.start() end)
  after_each(function()
    nginx.stop_all()
    server:stop()
  end)

  local function n_leases()
    return tonumber(server:etcdctl("lease", "list"):match "found (%d+) leases")
  end

  local function await_answer(path, body)
    wait.eventually(function() return select(2, web:get(path)) == body end, nil, path .. " to answer " .. body)
  end

  -- ---- workers without rights -------------------------------------------------------------------------------------

  it("serves by workers that are nobody: locks, a job, reload and quit, and nothing is left", function()
    if uv.getuid() ~= 0 then return pending "only root can give nginx's workers to another user" end
    web = nginx.start {
      user = "nobody nogroup", env = { ENDPOINT = server.endpoint, TMPDIR = "PREFIX/tmp" },
      http = [[
        lua_shared_dict lunarch 1m;
        init_by_lua_block { require "resty.lunarch" }
        init_worker_by_lua_block {
          lunarch = require "resty.lunarch"
          here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT" })
          job = lunarch.singleton {
            election = "/deployed/job", client = here.client, interval = 0.01,
            do_work = function(term) assert(term:put("/deployed/worker", tostring(ngx.worker.pid()))) end,
          }
        }
        exit_worker_by_lua_block { lunarch.exit_worker() }
      ]],
      server = [[
        location = /leads { content_by_lua_block { ngx.print(tostring(job:is_leader() and job:leader().is_me)) } }
        location = /locked {
          content_by_lua_block {
            ngx.print(assert(here:lock("/deployed/lock", 60)).token)
            ngx.sleep(0.01)
          }
          log_by_lua_block { lunarch.release() }
        }
      ]],
    }
    for _, pid in ipairs(web:workers()) do
      assert.is_nil(tree.read("/proc/" .. pid .. "/status"):match "Uid:%s+0")
    end
    await_answer("/leads", "true")
    for _ = 1, 2 do
      local requests = {}
      for i = 1, 10 do
        requests[i] = web:open "/locked"
      end
      local old = web:reload()
      for _, request in ipairs(requests) do
        assert.equal(200, (request:wait()))
      end
      nginx.wait_gone(old)
      await_answer("/leads", "true")
    end
    web:quit()
    assert.equal(0, n_leases())
    assert.same({}, web:files "tmp")
    assert.same({}, web:lines "%[%a+%]")
  end)

  -- ---- several in one worker --------------------------------------------------------------------------------------

  for _, n_workers in ipairs { 1, 4 } do
    it("keeps two servers, sessions and elections of " .. n_workers .. " workers apart", function()
      local other = nginx.at(ports.free())
      web = nginx.start {
        workers = n_workers, env = { ENDPOINT = server.endpoint },
        http = [[
          lua_shared_dict lunarch 1m;
          init_worker_by_lua_block {
            lunarch = require "resty.lunarch"
            quick = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 5 })
            patient = assert(lunarch.new { endpoints = { os.getenv "ENDPOINT" }, ttl = 60 })
            jobs = {}
            for _, name in ipairs { "a", "b" } do
              jobs[name] = lunarch.singleton {
                election = "/deployed/" .. name, client = quick.client, ttl = 5, value = name, do_work = function() end,
              }
            end
          }
          exit_worker_by_lua_block { lunarch.exit_worker() }
          server {
            listen 127.0.0.1:]] .. other.port .. [[;
            location = /locked { content_by_lua_block { patient:with("/deployed/x", 5, function(lock)
              ngx.print(patient.client.endpoints[1], " ", lock.session.ttl)
            end) } }
          }
        ]],
        server = [[
          location = /locked { content_by_lua_block { quick:with("/deployed/x", 5, function(lock)
            ngx.print(quick.client.endpoints[1], " ", lock.session.ttl)
          end) } }
          location = /leaders { content_by_lua_block {
            for _, name in ipairs { "a", "b" } do
              local leader = jobs[name]:leader()
              ngx.print(tostring(jobs[name]:is_leader()), " ", leader and leader.value or "nobody", " ")
            end
          } }
        ]],
      }
      for _ = 1, 2 do
        await_answer("/leaders", "true a true b ")
        local old = web:reload()
        nginx.wait_gone(old)
      end
      await_answer("/leaders", "true a true b ")
      local requests = {}
      for i = 1, 12 do
        requests[i] = (i % 2 == 0 and web or other):open "/locked"
      end
      for i, request in ipairs(requests) do
        assert.same({ 200, server.endpoint .. (i % 2 == 0 and " 5" or " 60") }, { request:wait() })
      end
      web:quit()
      assert.equal(0, n_leases())
      assert.same({}, web:lines "%[error%]")
    end)
  end

  it("opens its session although that failed before", function()
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint },
      http = [[
        init_worker_by_lua_block { here = assert(require("resty.lunarch").new { endpoints = os.getenv "ENDPOINT" }) }
      ]],
      server = [[
        location = /x { content_by_lua_block {
          here.client.session = function() error "for want of memory" end
          ngx.print(select(2, pcall(here.lock, here, "/deployed/again", 5)):match "for want of memory")
          here.client.session = nil
          ngx.print(": ", tostring((pcall(here.lock, here, "/deployed/again", 5))))
        } }
      ]],
    }
    assert.same({ 200, "for want of memory: true" }, { web:get "/x" })
  end)

  -- ---- etcd is away -----------------------------------------------------------------------------------------------

  local AWAY = {
    http = [[
      lua_shared_dict lunarch 1m;
      init_worker_by_lua_block {
        lunarch = require "resty.lunarch"
        here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 2 })
        job = lunarch.singleton {
          election = "/deployed/job", endpoints = os.getenv "ENDPOINT", ttl = 2, do_work = function() end,
        }
      }
      exit_worker_by_lua_block { lunarch.exit_worker() }
    ]],
    server = [[
      location = /leads { content_by_lua_block { ngx.print(tostring(job:is_leader())) } }
      location = /locked {
        content_by_lua_block {
          local lock, message, code = here:lock("/deployed/lock", tonumber(ngx.var.arg_wait))
          ngx.print(lock and "locked" or code .. ": " .. message)
        }
        log_by_lua_block { lunarch.release() }
      }
    ]],
  }

  local function start_away(level)
    web = nginx.start {
      http = AWAY.http, server = AWAY.server, level = level, env = { ENDPOINT = server.endpoint }, workers = 1,
    }
  end

  local function locked(seconds)
    local _, answer = web:get("/locked?wait=" .. seconds)
    return answer
  end

  it("starts without etcd: says whom it asked, in the answer and in the log, and serves once etcd has come", function()
    server:kill9()
    start_away "error"
    for _ = 1, 2 do
      local answer = locked(0.2)
      assert.matches("^unavailable: no session with " .. server.endpoint:gsub("%p", "%%%0") .. " within 0.2 s", answer)
    end
    -- Nothing below `error` is seen where nginx is installed as it comes.
    wait.eventually(function() return #web:lines("lunarch: /deployed/job: no session with " .. server.endpoint) > 0 end)
    server:restart()
    await_answer("/leads", "true")
    wait.eventually(function() return locked(1) == "locked" end)
  end)

  it("says what LUNARCH_ENDPOINTS needs where etcd was looked for in the usual place in vain", function()
    web = nginx.start {
      workers = 1, server = [[ location = /hints { content_by_lua_block {
        local hint = require("lunarch.loop.nginx").hint
        ngx.print(hint { "127.0.0.1:2379" }, "|", hint { "etcd-1:2379" }, "|", hint { "127.0.0.1:2379", "etcd-1:2379" })
      } } ]],
    }
    local _, hints = web:get "/hints"
    assert.matches('needs "env LUNARCH_ENDPOINTS;" in nginx.conf%)||$', hints)
  end)

  it("answers a request that waits while etcd goes, in its time, and serves when it is back", function()
    start_away "crit"
    await_answer("/leads", "true")
    assert.equal("locked", locked(30))
    server:kill9()
    local answer = locked(0.5)
    assert.matches("^%a+: lock /deployed/lock: ", answer)
    await_answer("/leads", "false")
    server:restart()
    await_answer("/leads", "true")
    wait.eventually(function() return locked(1) == "locked" end)
  end)

  it("quits although etcd is gone", function()
    start_away "crit"
    await_answer("/leads", "true")
    assert.equal("locked", locked(30))
    server:kill9()
    web:quit(wait.LIMIT)
  end)
end)
