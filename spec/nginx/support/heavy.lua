-- What nginx's workers feel of us, under load: the long proofs that ./dev soak nginx reports.
local uv = require "luv"
local etcd = require "support.etcd"
local median = require "support.median"
local nginx = require "support.nginx"
local process = require "support.process"
local tree = require "support.tree"
local wait = require "support.wait"

local heavy = {}

local WRK = os.getenv "LUNARCH_NGINX" .. "/usr/bin/wrk"
local LOCKS_PER_S, LOCK_LANES = 200, 20
local LANES = 50
local WORKERS = 2

-- ---- load -------------------------------------------------------------------------------------------------------

-- wrk waits so many milliseconds before each request of a connection: on average, and evenly spread.
local DELAY = [[
function delay()
  return math.random(0, math.floor(2 * DELAY_MS))
end
]]

local function start_wrk(url, seconds, lanes, delay_ms, is_closing)
  local command = { WRK, "-t1", "-c" .. lanes, ("-d%ds"):format(seconds), "--latency", "--timeout", "20s" }
  if delay_ms then
    local path = tree.folder() .. "/delay.lua"
    local file = assert(io.open(path, "w"))
    file:write((DELAY:gsub("DELAY_MS", ("%.3f"):format(delay_ms))))
    file:close()
    command[#command + 1] = "-s"
    command[#command + 1] = path
  end
  if is_closing then
    command[#command + 1] = "-H"
    command[#command + 1] = "Connection: close"
  end
  command[#command + 1] = url
  return process.start(command)
end

-- What wrk says in the end.
local function result_of(wrk, seconds)
  wrk:wait_exit(seconds + 30)
  local text = wrk:output()
  local function count(pattern) return tonumber(text:match(pattern .. " (%d+)") or 0) end
  return {
    per_s = tonumber(text:match "Requests/sec:%s+([%d.]+)") or 0,
    n = tonumber(text:match "(%d+) requests in") or 0,
    n_failed = count "connect" + count "read" + count "write" + count "timeout" + count "Non%-2xx or 3xx responses:",
    text = text,
  }
end

local function url(web, path)
  return ("http://127.0.0.1:%d%s"):format(web.port, path)
end

-- The load that is half of what this nginx can take here and now, as wrk's delay.
local function half_load(web, is_closing)
  local full = result_of(start_wrk(url(web, "/plain"), 3, LANES, nil, is_closing), 3).per_s
  return LANES * 1000 / (full / 2), full
end

-- ---- the delays of a timer --------------------------------------------------------------------------------------

-- A light thread of each worker sleeps 1 ms again and again, and counts how much later than that it goes on.
local TIMERS = [[
  lua_shared_dict delays 8m;
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 30 })
    local now = require("lunarch").now
    local function measure(premature)
      if premature then return end
      local bins = {}
      while not ngx.worker.exiting() do
        if ngx.shared.delays:get "on" then
          local before = now()
          ngx.sleep(0.001)
          local bin = math.floor(math.max(now() - before - 0.001, 0) * 1e5)
          ngx.shared.delays:incr(bin, 1, 0)
        else
          ngx.sleep(0.01)
        end
      end
    end
    ngx.timer.at(0, measure)
  }
]]

local TIMERS_SERVER = [[
  location = /plain { content_by_lua_block { ngx.print "plain" } }
  location = /beside { content_by_lua_block { ngx.print "beside" } }
  location = /lock {
    content_by_lua_block {
      local lock, err = here:lock("/inside/" .. math.random(1000), 5)
      if not lock then
        ngx.log(ngx.ERR, err)
        return ngx.exit(500)
      end
      lock:unlock()
      ngx.print "locked"
    }
    log_by_lua_block { lunarch.release() }
  }
  location = /on { content_by_lua_block { ngx.shared.delays:flush_all() ngx.shared.delays:set("on", true) } }
  location = /off { content_by_lua_block {
    ngx.shared.delays:delete "on"
    for _, key in ipairs(ngx.shared.delays:get_keys(0)) do
      ngx.say(key, " ", ngx.shared.delays:get(key))
    end
  } }
]]

local function quantiles(text)
  local bins, total = {}, 0
  for bin, count in text:gmatch "(%d+) (%d+)\n" do
    bins[#bins + 1] = { ms = tonumber(bin) / 100, n = tonumber(count) }
    total = total + tonumber(count)
  end
  table.sort(bins, function(a, b) return a.ms < b.ms end)
  local function at(part)
    local seen = 0
    for _, bin in ipairs(bins) do
      seen = seen + bin.n
      if seen >= part * total then return bin.ms end
    end
    return 0
  end
  return { p50 = at(0.5), p99 = at(0.99), p999 = at(0.999), most = bins[#bins] and bins[#bins].ms or 0, n = total }
end

-- One run: half load, and 200 locks a second either through requests or by a process outside (whose place in nginx is
-- taken by as many plain requests).
local function timed_run(web, server, seconds, delay_ms, is_inside)
  local outside = not is_inside and process.start {
    "lua5.4", tree.root .. "/spec/nginx/support/locker.lua", server.endpoint, LOCKS_PER_S,
  }
  if outside then outside:wait_line "locking" end
  local plain = start_wrk(url(web, "/plain"), seconds + 2, LANES, delay_ms)
  local beside = start_wrk(url(web, is_inside and "/lock" or "/beside"), seconds + 2, LOCK_LANES,
    LOCK_LANES * 1000 / LOCKS_PER_S)
  wait.pass(1)
  assert(web:get "/on" == 200)
  wait.pass(seconds)
  local _, bins = web:get "/off"
  local delays = quantiles(bins)
  delays.plain, delays.beside = result_of(plain, 3), result_of(beside, 3)
  if outside then outside:kill9() end
  return delays
end

-- In turn inside and outside, `rounds` times, so that both see the same weather.
function heavy.delays(rounds, seconds)
  local server = etcd.start()
  local web = nginx.start {
    http = TIMERS, server = TIMERS_SERVER, env = { ENDPOINT = server.endpoint }, workers = WORKERS,
  }
  web:get "/lock"
  local delay_ms, full = half_load(web)
  local result = { full = full, inside = {}, outside = {} }
  for i = 1, rounds do
    result.outside[i] = timed_run(web, server, seconds, delay_ms, false)
    result.inside[i] = timed_run(web, server, seconds, delay_ms, true)
  end
  result.log = web:lines "%[error%]"
  web:quit(20)
  server:stop()
  return result
end

-- ---- reloads ----------------------------------------------------------------------------------------------------

local RELOADED = [[
  lua_shared_dict lunarch 1m;
  init_by_lua_block { require "resty.lunarch" }
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 30 })
    local now = require("lunarch").now
    local function note(what)
      local file = io.open(os.getenv "JOURNAL", "a")
      file:write(("%.6f %d %s\n"):format(now(), ngx.worker.pid(), what))
      file:close()
    end
    lunarch.singleton {
      election = "/heavy/job", endpoints = os.getenv "ENDPOINT", ttl = 10,
      on_elected = function() note "elected" end,
      do_work = function()
        note "work"
        ngx.sleep(0.002)
        note "worked"
        return 0.002
      end,
      on_lost = function() note "lost" end,
    }
  }
]]

local function read_journal(path, result)
  local owner, worker, lost_at
  for t, pid, what in tree.read(path):gmatch "([%d.]+) (%d+) (%a+)\n" do
    t = tonumber(t)
    local function wrong(why)
      result.disorder[#result.disorder + 1] = ("%.6f worker %s: %s, %s"):format(t, pid, what, why)
    end
    if what == "elected" then
      if owner then wrong("while " .. owner .. " leads") end
      if lost_at then result.hand_overs[#result.hand_overs + 1] = (t - lost_at) * 1000 end
      owner = pid
    elseif what == "work" then
      if worker or owner ~= pid then wrong "while another works or leads" end
      worker = pid
      result.n_work = result.n_work + 1
    elseif what == "worked" then
      worker = nil
    else
      owner, worker, lost_at = nil, nil, t
    end
  end
  table.sort(result.hand_overs)
end

-- Reloads under half load, one after another.
function heavy.reloads(n, pause_s)
  local server = etcd.start()
  local journal = tree.folder() .. "/journal"
  local web = nginx.start {
    http = RELOADED, server = TIMERS_SERVER, env = { ENDPOINT = server.endpoint, JOURNAL = journal }, workers = WORKERS,
    connections = 4096,
  }
  local delay_ms, full = half_load(web, true)
  local seconds = math.ceil(n * (pause_s + 1.5))
  local plain = start_wrk(url(web, "/plain"), seconds, LANES, delay_ms, true)
  local locks = start_wrk(url(web, "/lock"), seconds, LOCK_LANES, LOCK_LANES * 1000 / LOCKS_PER_S, true)
  local result = { full = full, disorder = {}, hand_overs = {}, n_work = 0, slowest_s = 0 }
  for i = 1, n do
    wait.pass(pause_s)
    local old = web:reload()
    local began = uv.hrtime()
    nginx.wait_gone(old, 30)
    result.slowest_s = math.max(result.slowest_s, (uv.hrtime() - began) / 1e9)
    wait.eventually(function()
      local _, n_elected = tree.read(journal):gsub("elected", "")
      return n_elected > i
    end)
  end
  plain:signal "sigint"
  locks:signal "sigint"
  result.plain, result.locks = result_of(plain, 5), result_of(locks, 5)
  result.n_workers = #web:workers()
  result.troubles = web:lines "%[alert%]"
  for _, line in ipairs(web:lines "%[error%]") do
    result.troubles[#result.troubles + 1] = line
  end
  web:quit(20)
  result.n_leases = tonumber((server:etcdctl("lease", "list")):match "found (%d+) leases")
  read_journal(journal, result)
  server:stop()
  return result
end

-- ---- memory and loading -----------------------------------------------------------------------------------------

local function rss_mb(pid)
  return tonumber(tree.read("/proc/" .. pid .. "/status"):match "VmRSS:%s+(%d+) kB") / 1024
end

local function mean_rss(web)
  local sum, workers = 0, web:workers()
  for _, pid in ipairs(workers) do
    sum = sum + rss_mb(pid)
  end
  return sum / #workers
end

local LOADED = [[
  init_by_lua_block {
    ngx.update_time()
    local before, cpu_before = ngx.now(), os.clock()
    lunarch = require "resty.lunarch"
    took_cpu_ms = (os.clock() - cpu_before) * 1000
    ngx.update_time()
    took_ms = (ngx.now() - before) * 1000
  }
  init_worker_by_lua_block {
    here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 30 })
  }
]]

local TOOK = [[
  location = /took { content_by_lua_block { ngx.print(took_ms, " ", took_cpu_ms) } }
]]

-- Workers that have served, without the module and with it (loaded in init_by_lua): with a session, and locks taken;
-- and how long loading takes, in `n_starts` fresh masters.
function heavy.memory(n_starts)
  local server = etcd.start()
  local env = { ENDPOINT = server.endpoint }
  local bare = nginx.start {
    server = [[ location = /plain { content_by_lua_block { ngx.print "plain" } } ]], env = env, workers = WORKERS,
  }
  result_of(start_wrk(url(bare, "/plain"), 2, LANES), 2)
  local result = { bare = mean_rss(bare) }
  bare:quit()
  local times, cpu_times = {}, {}
  for i = 1, n_starts do
    local with = nginx.start { http = LOADED, server = TIMERS_SERVER .. TOOK, env = env, workers = WORKERS }
    local _, took = with:get "/took"
    times[i] = tonumber(took:match "^%S+")
    cpu_times[i] = tonumber(took:match "%S+$")
    if i == n_starts then
      result_of(start_wrk(url(with, "/plain"), 2, LANES), 2)
      result.locks = result_of(start_wrk(url(with, "/lock"), 3, LOCK_LANES), 3)
      result.with = mean_rss(with)
    end
    with:quit(20)
  end
  result.load_ms, result.load_cpu_ms = median(times), median(cpu_times)
  server:stop()
  return result
end

return heavy
