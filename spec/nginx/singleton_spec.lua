-- clusters: plain mtls
-- lunarch.singleton: of all the workers of all nginx instances one runs do_work; every worker knows; and the place
-- changes hands within milliseconds when a worker leaves, and soon when it is killed.
local etcd = require "support.etcd"
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local nginx = require "support.nginx"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

-- So long that no place comes free by the end of a lease.
local TTL = 600

-- Handlers that write down when they were called, by whom.
local SHARED = [[
  lua_shared_dict lunarch 1m;
  init_by_lua_block { require "resty.lunarch" }
  init_worker_by_lua_block {
    lunarch = require "lunarch"
    function note(what)
      local file = io.open(os.getenv "JOURNAL", "a")
      file:write(("%.6f %d %s\n"):format(lunarch.now(), ngx.worker.pid(), what))
      file:close()
    end
    singleton = lunarch.singleton {
      election = os.getenv "ELECTION", endpoints = os.getenv "ENDPOINT", ttl = TTL, value = os.getenv "INSTANCE",
      per = os.getenv "PER",
      on_elected = function(term) note("elected" .. (singleton:leader().is_me and "" or ", but not for all")) end,
      do_work = function(term)
        note "work"
        ngx.sleep(0.005)
        note "worked"
        return 0.005
      end,
      on_lost = function(term, reason)
        note(singleton:is_leader() and "lost and still leading" or "lost " .. reason)
      end,
    }
  }
]]

local SERVER = [[
  location = /who { content_by_lua_block {
    local leader, _, code = singleton:leader()
    ngx.print(ngx.worker.pid(), " ", tostring(singleton:is_leader()), " ", leader and leader.value or code, " ",
      tostring(singleton:is_standing()), " ", singleton:remaining())
  } }
  location = /long { content_by_lua_block { ngx.sleep(1) ngx.print "done" } }
]]

describe("a singleton", function()
  local client, server
  local journal, n_elections = nil, 0
  local election

  setup(function() client, server = fixture.open() end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  before_each(function()
    journal = tree.folder() .. "/journal"
    n_elections = n_elections + 1
    election = "/singleton/" .. n_elections
  end)

  local function start(name, changes)
    local options = {
      http = SHARED:gsub("TTL", tostring(TTL)), server = SERVER, level = "notice",
      env = { ENDPOINT = server.endpoint, JOURNAL = journal, ELECTION = election, INSTANCE = name, PER = "instance" },
    }
    for key, value in pairs(changes or {}) do
      if key == "env" then
        for variable, text in pairs(value) do
          options.env[variable] = text
        end
      else
        options[key] = value
      end
    end
    return nginx.start(options)
  end

  local function notes(pattern)
    local found = {}
    for t, pid, what in tree.read(journal):gmatch "([%d.]+) (%d+) ([^\n]*)\n" do
      if not pattern or what:find(pattern) then
        found[#found + 1] = { t = tonumber(t), pid = math.tointeger(tonumber(pid)), what = what }
      end
    end
    return found
  end

  local function await_elections(n)
    wait.eventually(function() return #notes "^elected" >= n and #notes "^work" > 3 * n end, nil, n .. " elections")
  end

  -- Each call of do_work ends before anybody else's begins, and terms do not overlap.
  local function assert_in_order()
    local owner, worker
    for _, note in ipairs(notes()) do
      if note.what == "elected" then
        assert.is_nil(owner)
        owner = note.pid
      elseif note.what == "work" then
        assert.is_nil(worker)
        assert.equal(owner, note.pid)
        worker = note.pid
      elseif note.what == "worked" then
        assert.equal(worker, note.pid)
        worker = nil
      else
        assert.matches("^lost", note.what)
        assert.is_nil(note.what:find "still leading")
        assert.equal(owner, note.pid)
        owner, worker = nil, nil
      end
    end
  end

  -- What every worker of an instance answers, by its pid.
  local function answers(web)
    local found, n = {}, 0
    for _ = 1, 300 do
      local _, body = web:get "/who"
      local pid, is_leader, leader, is_standing, remaining = body:match "^(%d+) (%S+) (%S+) (%S+) (%S+)$"
      if not found[pid] then n = n + 1 end
      found[pid] = {
        is_leader = is_leader == "true", leader = leader, is_standing = is_standing == "true",
        remaining = tonumber(remaining),
      }
      if n == 2 then return found end
    end
    error "one of the workers never answered"
  end

  local function places()
    return client:get(election, { prefix = true })
  end

  it("runs do_work on one worker of two instances, and every worker knows who leads", function()
    local a, b = start "A", start "B"
    await_elections(1)
    wait.passes(function()
      local leads = { A = false, B = false }
      local leader, n_standing, n_leading = nil, 0, 0
      for name, web in pairs { A = a, B = b } do
        for _, answer in pairs(answers(web)) do
          leader = leader or answer.leader
          assert.equal(leader, answer.leader)
          assert.equal(answer.remaining > 0, answer.is_leader)
          leads[name] = answer.is_leader
          if answer.is_leader then
            n_leading = n_leading + 1
            assert.equal(leader, name)
            assert.is_true(answer.remaining > TTL / 2 and answer.remaining < TTL)
          end
          if answer.is_standing then n_standing = n_standing + 1 end
        end
      end
      assert.is_true(leads.A ~= leads.B)
      assert.equal(2, n_leading)
      assert.equal(2, n_standing)
    end)
    assert.equal(2, #places())
    assert_in_order()
  end)

  it("changes hands at a reload, long requests or not, and leaves nothing at a quit", function()
    local web = start "A"
    await_elections(1)
    for i = 1, 3 do
      local long = { web:open "/long", web:open "/long" }
      wait.eventually(function() return uv.run "nowait" or true end)
      local old = web:reload()
      await_elections(i + 1)
      for _, request in ipairs(long) do
        assert.equal(200, (request:wait()))
      end
      nginx.wait_gone(old)
    end
    assert_in_order()
    assert.equal("lost the worker leaves", notes("^lost")[1].what)
    assert.equal(1, #places())
    web:quit()
    assert.equal(4, #notes "^lost")
    assert.equal(0, #places())
    assert.equal(0, tonumber(server:etcdctl("lease", "list"):match "found (%d+) leases"))
  end)

  it("is taken over by another worker when the one that stands is killed, long before its lease would end", function()
    local web = start "A"
    await_elections(1)
    local first = notes("^elected")[1]
    process.kill9(first.pid)
    await_elections(2)
    local second = notes("^elected")[2]
    assert.not_equal(first.pid, second.pid)
    wait.eventually(function() return #places() == 1 end)
    for _, answer in pairs(answers(web)) do
      assert.is_true(answer.is_leader)
    end
  end)

  it("is taken over by another worker when the one that stands hangs, once its lease has ended", function()
    local web = start("A", { http = SHARED:gsub("TTL", "2") })
    await_elections(1)
    local first = notes("^elected")[1]
    process.freeze(first.pid)
    await_elections(2)
    process.thaw(first.pid)
    wait.eventually(function() return notes("^lost")[1] end)
    assert.equal(first.pid, notes("^lost")[1].pid)
    wait.eventually(function()
      local n = 0
      for _, answer in pairs(answers(web)) do
        if not answer.is_leader then return false end
        if answer.is_standing then n = n + 1 end
      end
      return n == 1
    end)
  end)

  it("stands once per worker where it is told to", function()
    local web = start("A", { env = { PER = "worker" } })
    await_elections(1)
    wait.eventually(function() return #places() == 2 end)
    local n_leading = 0
    for _, answer in pairs(answers(web)) do
      assert.is_true(answer.is_standing)
      if answer.is_leader then n_leading = n_leading + 1 end
    end
    assert.equal(1, n_leading)
    local leader = notes("^elected")[1].pid
    process.kill9(leader)
  end)

  it("is lost in time when etcd stands still: do_work is interrupted at its waits, nobody answers to lead", function()
    local own = etcd.start()
    local endless = SHARED:gsub("TTL", "5"):gsub('note "worked"', [[
      while true do
        client = client or assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
        client:get("/nothing", nil, 0.02)
        lunarch.sleep(0.002)
        n_alive = (n_alive or 0) + 1
      end
    ]]):gsub('note%(singleton', 'note("alive " .. n_alive) '
      .. 'lunarch.sleep(0.2) note("still " .. n_alive) note(singleton')
    local web = start("A", { http = endless, env = { ENDPOINT = own.endpoint } })
    wait.eventually(function() return notes("^work")[1] end)
    own:freeze()
    local frozen_at = lunarch.now()
    wait.eventually(function() return notes("^lost")[1] end)
    local lost = notes("^lost")[1]
    assert.equal("lost expired", lost.what)
    -- timing: S1 is a promise about time. The runner judges again where the machine stood still.
    assert.is_true(lost.t - frozen_at < 5, ("it took %.3f s"):format(lost.t - frozen_at))
    assert.equal(notes("^alive")[1].what:match "%d+", notes("^still")[1].what:match "%d+")
    for _, answer in pairs(answers(web)) do
      assert.same({ false, "unavailable" }, { answer.is_leader, answer.leader })
    end
    own:thaw()
    wait.eventually(function() return #notes "^elected" == 2 end)
    web:stop()
    own:stop()
  end)

  -- How a worker observes the leader: "nobody" once, as before its own term, and nothing after that.
  local DEAF = SHARED:gsub('endpoints = os.getenv "ENDPOINT"', 'client = deaf'):gsub("function note", [[
    deaf = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
    deaf.observe = function()
      local is_told
      return {
        next = function()
          while is_told or n_observers and n_observers > 0 do lunarch.sleep(0.01) end
          is_told, n_observers = true, 1
          return {}
        end,
        close = function() end,
      }
    end
    %0]], 1)

  it("does not say after its term that nobody leads, which it was told before it, while etcd stands still", function()
    local own = etcd.start()
    for _, per in ipairs { "instance", "worker" } do
      local web = start("A", { http = DEAF:gsub("TTL", "2"), env = { ENDPOINT = own.endpoint, PER = per } })
      wait.eventually(function() return notes("^work")[1] end)
      own:freeze()
      wait.eventually(function() return notes("^lost")[1] end)
      wait.passes(function()
        for _, answer in pairs(answers(web)) do
          assert.same({ false, "unavailable" }, { answer.is_leader, answer.leader })
        end
      end)
      own:thaw()
      web:stop()
      tree.write(journal, "")
    end
    own:stop()
  end)

  for leader, expected in pairs { nobody = "no_leader", other = "other" } do
    it("knows no more that " .. leader .. " leads once etcd stands still, and knows again when it answers", function()
      local own = etcd.start()
      local other = assert(lunarch.connect { endpoints = own.endpoint })
      local session = assert(other:session { ttl = 600 })
      local term = leader == "other" and assert(session:election(election):campaign(leader))
      local http = SHARED:gsub("TTL", "2, may_stand = function() return false end")
      local shared = start("A", { http = http, env = { ENDPOINT = own.endpoint } })
      local single = start("B", { http = http, env = { ENDPOINT = own.endpoint, PER = "worker" } })
      local function await_answer(text)
        for _, web in ipairs { shared, single } do
          wait.passes(function()
            for _, answer in pairs(answers(web)) do
              assert.equal(text, answer.leader)
            end
          end)
        end
      end
      await_answer(expected)
      own:freeze()
      await_answer "unavailable"
      own:thaw()
      await_answer(expected)
      shared:stop()
      single:stop()
      if term then assert.is_nil(term.reason) end
      other:close(1)
      own:stop()
    end)
  end

  it("steps down when do_work fails, says why, and lets another instance go first", function()
    local broken = SHARED:gsub("TTL", tostring(TTL)):gsub('note "worked"', 'error "on purpose"')
    local a = start("A", { http = broken })
    wait.eventually(function() return notes("^lost error")[1] end)
    assert.is_true(#a:lines "do_work failed: .*on purpose" > 0)
    start "B"
    await_elections(2)
  end)

  it("says what is missing in nginx.conf, and what is wrong with its options", function()
    local web = nginx.start {
      http = [[
        init_worker_by_lua_block {
          local singleton = require("resty.lunarch").singleton
          errors = {}
          local function try(options) errors[#errors + 1] = select(2, pcall(singleton, options)) end
          local function f() end
          try { election = "/x", do_work = f }
          try { election = "/x", do_wrk = f }
          try { election = "/x", per = "instance" }
          try { do_work = f }
          try { election = "/x", do_work = f, per = "cluster" }
          try { election = "/x", do_work = f, client = {}, endpoints = "127.0.0.1:2379" }
          errors[#errors + 1] = select(2, pcall(require("resty.lunarch").new, { ttl = 100000 }))
        } ]],
      server = [[ location = /errors { content_by_lua_block { ngx.print(table.concat(errors, "\n")) } } ]],
    }
    local _, errors = web:get "/errors"
    local lines = {}
    for line in errors:gmatch "[^\n]+" do
      lines[#lines + 1] = line
    end
    assert.matches('no shared dict \'lunarch\': nginx.conf needs "lua_shared_dict lunarch 1m;"', lines[1], 1, true)
    assert.matches("unknown option 'do_wrk' %(did you mean 'do_work'%?%)", lines[2])
    assert.matches("neither 'do_work' nor 'on_elected' is given", lines[3])
    assert.matches("'election' is missing", lines[4])
    assert.matches("'per' must be 'instance' or 'worker', not the string \"cluster\"", lines[5])
    assert.matches("lunarch.singleton: give either 'client' or 'endpoints'$", lines[6])
    assert.matches("'ttl' must be at most %d+ seconds", lines[7])
  end)

  it("is refused a second time in one worker under one name, unless what it publishes is kept apart", function()
    local web = nginx.start {
      http = [[
        lua_shared_dict lunarch 1m;
        lua_shared_dict other 1m;
        init_worker_by_lua_block {
          local singleton = require("resty.lunarch").singleton
          local function try(changes)
            local options = { election = "/twice", endpoints = os.getenv "ENDPOINT", do_work = function() end }
            for name, value in pairs(changes) do options[name] = value end
            return pcall(singleton, options)
          end
          local _, first = try {}
          local is_again, message = try {}
          local is_apart, is_alone = try { dict = "other" }, try { per = "worker" }
          results = { tostring(is_again), message, tostring(is_apart), tostring(is_alone) }
          first:stop()
          results[#results + 1] = tostring((try {}))
        } ]],
      server = [[ location = /results { content_by_lua_block { ngx.print(table.concat(results, "\n")) } } ]],
      env = { ENDPOINT = server.endpoint },
    }
    local _, results = web:get "/results"
    assert.matches("^false\n[^\n]*this worker has one for '/twice' already: [^\n]*\ntrue\ntrue\ntrue$", results)
  end)

  it("is made anew in the worker that has stopped one of its name, and misses nothing in the dict", function()
    local web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint },
      http = [[
        lua_shared_dict lunarch 1m;
        init_worker_by_lua_block {
          function make()
            job = require("resty.lunarch").singleton {
              election = "/anew", ttl = 60, endpoints = os.getenv "ENDPOINT", do_work = function() end,
            }
          end
          make()
        } ]],
      server = [[
        location = /leads { content_by_lua_block { ngx.print(tostring(job:is_leader())) } }
        location = /again { content_by_lua_block { job:stop() make() } }
      ]],
    }
    for _ = 1, 3 do
      wait.eventually(function() return select(2, web:get "/leads") == "true" end)
      web:get "/again"
    end
    wait.eventually(function() return select(2, web:get "/leads") == "true" end)
    web:quit()
    assert.same({}, web:lines "%[error%]")
  end)
end)
