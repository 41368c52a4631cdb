-- ./dev bench [--rounds N] [--json]: what the C door and the Lua module cost over the physical floor.
--
-- A private etcd, data in memory, and two more that speak TLS, one of which asks for certificates. Each measurement is
-- taken in turn by the floor (bare gRPC, spec/bench/floor.c), the door (spec/bench/door.c) and Lua
-- (spec/bench/worker.lua), N rounds of that. Printed are the median of the rounds and the median of their ratios:
-- machines are noisy, and what disturbs one disturbs its neighbour too.
local cjson = require "cjson"
local etcd = require "support.etcd"
local median = require "support.median"
local pkis = require "support.pki"
local process = require "support.process"
local special = require "bench.special"
local tree = require "support.tree"

local BUILD = os.getenv "LUNARCH_BUILD"
local WORKER = tree.root .. "/spec/bench/worker.lua"

local commands = {
  floor = { BUILD .. "/bench/lunarch_floor" },
  door = { BUILD .. "/bench/lunarch_door" },
  lua = { "lua5.4", WORKER },
}
local order = { "floor", "door", "lua" }

local options = { rounds = 5, json = false }
do
  local i = 1
  while arg[i] do
    if arg[i] == "--rounds" and tonumber(arg[i + 1]) then
      options.rounds = math.max(1, math.floor(tonumber(arg[i + 1])))
      i = i + 2
    elseif arg[i] == "--json" then
      options.json = true
      i = i + 1
    else
      io.stderr:write("usage: ./dev bench [--rounds N] [--json]\n")
      os.exit(2)
    end
  end
end

-- What is measured, in which unit it is shown, and the bars of the door and of Lua (`lua`; none: no bar): `ratio` to
-- the floor of the same round, or `absolute`. They are those of the design: what is met stays met. `over`: the etcd
-- that speaks tls or mtls; `less`: the same over another one is taken off ("": the plain one); `per`: it is divided by
-- the same with those arguments. `special`: measured by special.lua; `is_promised`: nothing there measures it yet.
local function row(title, mode, args, field, unit, bar)
  local new = { title = title, mode = mode, args = args, field = field, unit = unit }
  for name, value in pairs(bar or {}) do new[name] = value end
  new.id = table.concat({ mode, table.concat(args, " "), new.load or "", new.over or "" }, " ")
  return new
end

local cycle, queued, settled, parallel, starts = { "3000" }, { "100", "5" }, { "20", "150" }, { "8000" }, { "20" }
local short_cycle = { "1500" }
local rows = {
  row("lock + unlock, p50", "cycle", cycle, "p50_us", "us", { ratio = 1.03, lua = 1.05 }),
  row("lock + unlock, p99", "cycle", cycle, "p99_us", "us"),
  row("client CPU per lock + unlock", "cycle", cycle, "cpu_us", "us", { ratio = 1.10, lua = 1.15 }),
  row("hand-off, queued 5 ms before, p50", "handoff", queued, "p50_us", "us", { ratio = 1.10, lua = 1.10 }),
  row("hand-off, queued 5 ms before, p99", "handoff", queued, "p99_us", "us"),
  row("hand-off, settled 150 ms, p50", "handoff", settled, "p50_us", "us", { ratio = 1.12 }),
  row("hand-off under 2,000 writes/s, p50", "handoff", queued, "p50_us", "us", { ratio = 1.25, load = 2000 }),
  row("hand-off under 2,000 writes/s, p99", "handoff", queued, "p99_us", "us", { absolute = 25000, load = 2000 }),
  row("64 locks in flight, cycles/s", "par64", parallel, "per_s", "/s",
    { ratio = 3, lua = 2, is_more_better = true }),
  row("client CPU per cycle of those", "par64", parallel, "cpu_us", "us"),
  row("etcd's CPU per cycle of those", "par64", parallel, "etcd_cpu_us", "us", { ratio = 0.4, lua = 0.4 }),
  row("start to first lock, p50", "first", starts, "p50_us", "us"),
  row("the same over TLS: what it takes more", "first", starts, "p50_us", "us",
    { ratio = 1.25, over = "tls", less = "" }),
  row("the same over mTLS: what it takes more", "first", starts, "p50_us", "us",
    { ratio = 1.25, over = "mtls", less = "" }),
  row("lock + unlock over TLS, p50", "cycle", short_cycle, "p50_us", "us",
    { ratio = 1.03, lua = 1.05, over = "tls" }),
  row("client CPU per lock + unlock over TLS", "cycle", short_cycle, "cpu_us", "us",
    { ratio = 1.10, lua = 1.15, over = "tls" }),
  row("lock + unlock over mTLS, p50", "cycle", short_cycle, "p50_us", "us",
    { ratio = 1.03, lua = 1.05, over = "mtls" }),
  row("resident memory, one session", "idle", {}, "rss_kb", "kB", { absolute = 15 * 1024, lua = 15 * 1024 }),
  row("memory of one waiter, 10,000 of them", "waiters", { "5000" }, "bytes_per_waiter", "B",
    { absolute = 1536, lua = 3072, is_ours_only = true }),
  row("memory of one waiter of 10,000", "waiters", { "10000" }, "bytes_per_waiter", "B",
    { absolute = 1536, lua = 3072, is_ours_only = true }),
  row("500 waiters served, each", "chain", { "500" }, "per_handoff_us", "us", { is_ours_only = true }),
  row("4,000 waiters served, each: times that", "chain", { "4000" }, "per_handoff_us", "x",
    { absolute = 4, lua = 4, per = "500", is_ours_only = true }),
  row("1,000 idle waiters, etcd's CPU", "idle_line", {}, "idle_percent", "%", { absolute = 0.5, special = true }),
  row("resident memory, the host's worker", "worker", {}, "rss_kb", "kB", { lua = 20 * 1024, special = true }),
  row("kill -9 of the leader until the next, p50", "takeover", {}, "ms", "ms",
    { lua = 50, is_promised = true }),
  row("lunarch lock x -- true; etcdctl lock x true", "command", {}, "ms", "ms",
    { ratio = 1, lua = 1, is_promised = true }),
  row("lock + unlock of a kept lock", "kept", {}, "us", "us", { absolute = 1, lua = 5, is_promised = true }),
}
local few_rounds = { idle = true, waiters = true, first = true }
local one_round = { chain = true, idle_line = true }

local function say(text)
  if not options.json then io.stderr:write(text) end
end

-- One run of one program; nil when it has no such mode.
local function run(who, server, mode, args)
  if mode == "chain" then return special.chain(who, server, args[1]) end
  local cpu_before = special.cpu_us(server.pid)
  local command = { "env", table.unpack(server.environment or {}) }
  for _, word in ipairs(commands[who]) do command[#command + 1] = word end
  command[#command + 1] = server.endpoint
  command[#command + 1] = mode
  for _, word in ipairs(args) do command[#command + 1] = word end
  local pipe = assert(io.popen("exec " .. tree.quote(command)))
  local output = pipe:read "a"
  if not pipe:close() then error(("bench: %s %s failed"):format(who, mode)) end
  local result = cjson.decode(output)
  if result.n then result.etcd_cpu_us = (special.cpu_us(server.pid) - cpu_before) / result.n end
  return result
end

-- Each distinct measurement once: several rows read from the same run.
local function measurements()
  local list, known = {}, {}
  for _, r in ipairs(rows) do
    if not known[r.id] and not r.is_promised then list[#list + 1] = r end
    known[r.id] = true
  end
  return list
end

local function measure_one(server, m)
  local rounds = {}
  local n_rounds = one_round[m.mode] and 1 or few_rounds[m.mode] and math.min(3, options.rounds) or options.rounds
  for round = 1, n_rounds do
    say(("\r\27[K%s%s, round %d of %d"):format(m.mode, m.load and " under load" or "", round, options.rounds))
    rounds[round] = m.special and special[m.mode](server, m) or {}
    for _, who in ipairs(m.special and {} or order) do
      if not (m.is_ours_only and who == "floor") then rounds[round][who] = run(who, server, m.mode, m.args) end
    end
  end
  return rounds
end

local function measure(servers)
  local results = {}
  for _, m in ipairs(measurements()) do
    local server = servers[m.over or "plain"]
    local loader = m.load and process.start { "lua5.4", WORKER, server.endpoint, "load", m.load }
    if loader then loader:wait_line("loading", 10) end
    results[m.id] = measure_one(server, m)
    if loader then loader:kill9() end
  end
  say "\r\27[K"
  return results
end

-- The figures of a row in each round, those of another row taken off where it says so.
local function rounds_of(results, r)
  local less = r.less and results[table.concat({ r.mode, table.concat(r.args, " "), "", r.less }, " ")]
  local per = r.per and results[table.concat({ r.mode, r.per, "", "" }, " ")]
  local rounds = {}
  for i, round in ipairs(results[r.id] or {}) do
    rounds[i] = {}
    for _, who in ipairs(order) do
      local value = round[who] and round[who][r.field]
      rounds[i][who] = value and (value - (less and less[i][who][r.field] or 0)) / (per and per[i][who][r.field] or 1)
    end
  end
  return rounds
end

local function column(rounds, who)
  local values = {}
  for i, round in ipairs(rounds) do
    if not round[who] then return nil end
    values[i] = round[who]
  end
  return values[1] and median(values)
end

local function ratio(rounds, who)
  local values = {}
  for i, round in ipairs(rounds) do
    if not round.floor or not round[who] then return nil end
    values[i] = round[who] / round.floor
  end
  return values[1] and median(values)
end

local function figure(value, unit)
  if not value then return "-" end
  if unit == "us" and value >= 10000 then return ("%.1f ms"):format(value / 1000) end
  if unit == "x" or unit == "%" then return ("%.2f %s"):format(value, unit) end
  return ("%.0f %s"):format(value, unit)
end

local missed = {}

local function verdict(r, who, bar, value, value_ratio)
  local got = r.ratio and value_ratio or value
  if not bar or not (got or r.is_promised) then return "" end
  if not got then
    missed[#missed + 1] = ("%s (%s): nothing measures it yet"):format(r.title, who)
    return "<= " .. figure(bar, r.unit) .. " NOT THERE"
  end
  local is_met = r.is_more_better and got >= bar or not r.is_more_better and got <= bar
  local text = r.ratio and ("%s %.2f x floor"):format(r.is_more_better and ">=" or "<=", bar)
    or "<= " .. figure(bar, r.unit)
  if not is_met then
    missed[#missed + 1] = ("%s (%s): %s, bar %s"):format(r.title, who, r.ratio and ("%.2f x floor"):format(got)
      or figure(got, r.unit), text)
  end
  return text .. (is_met and " met" or " NOT MET")
end

local FORMAT = "%-38s %10s %10s %7s %10s %7s   %-24s %s"

local function print_table(results)
  print(FORMAT:format("", "floor", "C door", "ratio", "Lua", "ratio", "bar of the door", "bar of Lua"))
  for _, r in ipairs(rows) do
    local rounds, unit = rounds_of(results, r), r.unit
    local function shown(who) return figure(column(rounds, who), unit) end
    local function shown_ratio(who)
      local value = ratio(rounds, who)
      return value and ("%.2f"):format(value) or ""
    end
    print(FORMAT:format(r.title, shown "floor", shown "door", shown_ratio "door", shown "lua", shown_ratio "lua",
      verdict(r, "C", r.ratio or r.absolute, column(rounds, "door"), ratio(rounds, "door")),
      verdict(r, "Lua", r.lua, column(rounds, "lua"), ratio(rounds, "lua"))))
  end
  print(("\nMedians of %d rounds: floor, door and Lua in turn, one etcd, its data in memory."):format(options.rounds))
  print "The floor's hand-off is watched from the next revision, and includes the confirming read."
  print(#missed == 0 and "\nEvery bar is met." or ("\n%d bars are NOT met:"):format(#missed))
  for _, text in ipairs(missed) do
    print("  " .. text)
  end
end

local function secured(pki, wants_client)
  local server = etcd.start {
    tls = {
      cert = pki:path "server.crt", key = pki:path "server.key", cacert = pki:path "ca.crt",
      wants_client = wants_client,
      ctl_cert = pki:path "alice.crt", ctl_key = pki:path "alice.key",
    },
  }
  server.environment = { "LUNARCH_CACERT=" .. pki:path "ca.crt" }
  if wants_client then
    table.insert(server.environment, "LUNARCH_CERT=" .. pki:path "alice.crt")
    table.insert(server.environment, "LUNARCH_KEY=" .. pki:path "alice.key")
  end
  return server
end

local pki = pkis.usual()
local servers = { plain = etcd.start(), tls = secured(pki, false), mtls = secured(pki, true) }
local ok, results = xpcall(measure, debug.traceback, servers)
for _, server in pairs(servers) do
  server:stop()
end
tree.remove(pki.folder)
if not ok then
  io.stderr:write(results, "\n")
  os.exit(1)
end
if options.json then
  print(cjson.encode(results))
else
  print_table(results)
end
os.exit(0, true)
