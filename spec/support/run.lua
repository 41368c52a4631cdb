-- Runs the C unit tests and the spec files, each in a process of its own, a few at a time, and adds them up.
-- ./dev test calls it; the last line reads `N passed, N failed`.
--
-- A unit test is a program made from a spec/**/*_test.c, which prints "not ok ..." for what fails and ends with
-- "N passed, N failed", or with status 77 where it cannot run. A spec file is a spec/**/*_spec.lua. Files whose names
-- end in _serial_test or _serial_spec run at the end, no more of them at once than there are cores: they are about
-- instants, or take a core for themselves. A file is given 300 s; a line `-- limit: 600 s` near its top gives it more.
-- A spec file runs on Lua 5.4, and below spec/module on LuaJIT too, unless a line `-- vms: lua5.4 luajit` near its top
-- says otherwise; and once more against a secured cluster (secured.lua) where a line says `-- clusters: plain mtls`, or
-- --cluster=mtls does. With --tsan only the unit tests are run: the Lua VM is not instrumented. A line
-- `-- needs: haproxy` names what ./dev fetches only if this file is run; --needs prints that for all files that are
-- wanted, and runs none.
--
-- What fails while the machine stood still (a thread of ours that reads the clock could not: stalls.lua) is run again,
-- in the end, twice at most: S1 is a promise about time. What hung until its limit is not: no stall explains that.
local argparse = require "argparse"
local costs = require "support.costs"
local sanitizers = require "support.sanitizers"
local stalls = require "support.stalls"
local tree = require "support.tree"
local uv = require "luv"
local verdict = require "support.verdict"

local ROOT, BUILD = tree.root, tree.build
local OUT = BUILD .. "/spec"
local LENGTHS = OUT .. "/lengths"
local LIMIT_S = 300
local SANITIZER_SLOWNESS = 3
local HEARTBEAT_MS = 30000
local STALL_S, MOST_TRIES = 0.1, 3
local VMS = { ["lua5.4"] = "lua5.4", luajit = BUILD .. "/unit/luajit" }
local MODULE_VMS = "lua5.4 luajit"
local MEMORY = uv.fs_access("/dev/shm", "W") and "/dev/shm" or "/tmp"
local TMP = ("%s/lunarch-run-%d"):format(MEMORY, uv.os_getpid())

local function usage(problem)
  io.stderr:write("test: ", problem, "\n")
  os.exit(2)
end

-- ---- what to run ------------------------------------------------------------------------------------------------

local function whole_number(text)
  return math.tointeger(tonumber(text)) or nil, ("'%s' is no whole number"):format(text)
end

local function options_of(words)
  local parser = argparse("./dev test"):add_help(false)
  parser:argument "wanted":args "*"
  parser:flag "--asan"
  parser:flag "--tsan"
  parser:flag "--restless"
  parser:flag "--times"
  parser:flag "--needs"
  parser:option "--filter"
  parser:option "--vm":choices { "lua5.4", "luajit" }
  parser:option "--cluster":choices { "plain", "mtls" }
  parser:option "--busy":convert(whole_number)
  for i, word in ipairs(words) do
    if word == "--busy" then words[i] = "--busy=" .. #uv.cpu_info() end
  end
  local ok, options = parser:pparse(words)
  if not ok then usage(options) end
  for i, word in ipairs(options.wanted) do
    options.wanted[i] = word:gsub("^%./", ""):gsub("/+$", "")
  end
  return options
end

local function walk(folder, found)
  local scan = uv.fs_scandir(ROOT .. "/" .. folder)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then break end
    local path = folder .. "/" .. name
    if kind == "directory" then walk(path, found) else found[#found + 1] = path end
  end
  table.sort(found)
  return found
end

local function is_wanted(path, wanted)
  for _, part in ipairs(wanted) do
    if path:find(part, 1, true) then return true end
  end
  return #wanted == 0
end

-- One job for a unit test, or one for each VM of a spec and each kind of cluster.
local function add_jobs(jobs, path, options)
  local head = tree.read(ROOT .. "/" .. path):sub(1, 1000)
  local function add(name, program, vm, cluster)
    jobs[#jobs + 1] = {
      name = name, path = path, vm = vm, cluster = cluster, program = program, folder = OUT, n_tries = 0,
      needs = head:match "%-%- needs: ([%w ]+)\n",
      is_serial = path:find "_serial_%a+%.%a+$" ~= nil,
      limit_s = (tonumber(head:match "limit: (%d+) s\n") or LIMIT_S)
        * ((options.asan or options.tsan) and SANITIZER_SLOWNESS or 1),
    }
  end
  local unit = path:match "/([^/]+_test)%.c$"
  if unit and not options.filter and not options.vm and options.cluster ~= "mtls" then
    add(path, BUILD .. "/unit/" .. unit)
  elseif path:find "_spec%.lua$" and not options.tsan then
    local vms = head:match "%-%- vms: ([%w. ]+)\n" or path:find "^spec/module/" and MODULE_VMS or "lua5.4"
    local clusters = options.cluster or head:match "%-%- clusters: ([%w ]+)\n" or "plain"
    for vm in vms:gmatch "%S+" do
      for cluster in clusters:gmatch "%S+" do
        local on = vm == "lua5.4" and "" or " on " .. vm
        local name = path .. on .. (cluster == "plain" and "" or " over " .. cluster)
        if not options.vm or options.vm == vm then add(name, nil, vm, cluster) end
      end
    end
  end
end

local function needs_of(jobs)
  local seen, needs = {}, {}
  for _, job in ipairs(jobs) do
    for need in (job.needs or ""):gmatch "%w+" do
      if not seen[need] then needs[#needs + 1] = need end
      seen[need] = true
    end
  end
  table.sort(needs)
  return needs
end

-- How long each file took when it was last run here.
local function read_lengths()
  local lengths = {}
  for seconds, path in tree.read(LENGTHS):gmatch "([%d.]+) ([^\n]+)" do
    lengths[path] = tonumber(seconds)
  end
  return lengths
end

local function write_lengths(lengths)
  local file = io.open(LENGTHS, "w")
  if not file then return end
  for path, seconds in pairs(lengths) do
    file:write(("%.2f %s\n"):format(seconds, path))
  end
  file:close()
end

-- The longest first, so that none is left running alone at the end.
local function jobs_of(options, lengths)
  local jobs = {}
  for _, path in ipairs(walk("spec", {})) do
    if is_wanted(path, options.wanted) then add_jobs(jobs, path, options) end
  end
  for i, job in ipairs(jobs) do
    job.order, job.expected_s = i, lengths[job.name] or job.limit_s
  end
  table.sort(jobs, function(a, b)
    if a.expected_s ~= b.expected_s then return a.expected_s > b.expected_s end
    return a.order < b.order
  end)
  return jobs
end

-- ---- one process ------------------------------------------------------------------------------------------------

local function environment_of(job, options, settings)
  local changes = {
    LUNARCH_REPORT = job.report,
    LUNARCH_TMP = job.tmp,
    LUNARCH_SANITIZED = options.asan and "1",
    LUNARCH_RESTLESS = options.restless and "1",
    LUNARCH_SPEC_CLUSTER = job.cluster,
    -- What the system says is compared: in its own words, whatever the language here, and whether its locale is there.
    LC_ALL = "C.UTF-8",
    LANGUAGE = false,
    -- Into files of their own: a child's complaint counts even if no spec looks at how it ended. UBSan, loaded beside
    -- ASan, heeds no log_path: stamp.lua picks its lines out.
    ASAN_OPTIONS = options.asan and settings.ASAN_OPTIONS .. ":log_path=" .. job.complaints,
    UBSAN_OPTIONS = settings.UBSAN_OPTIONS or false,
    LUNARCH_COMPLAINTS = options.asan and job.complaints,
    LSAN_OPTIONS = settings.LSAN_OPTIONS or false,
    TSAN_OPTIONS = settings.TSAN_OPTIONS or false,
  }
  local all, list = uv.os_environ(), {}
  for name, value in pairs(changes) do
    all[name] = value or nil
  end
  for name, value in pairs(all) do
    if changes[name] ~= false then list[#list + 1] = name .. "=" .. value end
  end
  return list
end

-- Each process leads a group of its own, so that all it leaves behind can be ended by one number, and dies with us.
local function command_of(job, options, settings)
  local args = { "--pdeathsig", "KILL" }
  local function add(...)
    for _, word in ipairs { ... } do
      args[#args + 1] = word
    end
  end
  if job.vm then
    if settings.preload then add("env", "LD_PRELOAD=" .. settings.preload) end
    add(VMS[job.vm], "/usr/bin/busted", "--output=" .. ROOT .. "/spec/support/report.lua")
    add("--helper=" .. ROOT .. "/spec/support/helper.lua")
    if options.filter then add("--filter=" .. options.filter) end
    add(job.path)
  else
    add(job.program)
  end
  return args
end

local function remove(path)
  os.execute("rm -rf '" .. path .. "'")
end

-- A run that was killed could not clean up after itself.
local function remove_leftovers()
  local scan = uv.fs_scandir(MEMORY)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local pid = math.tointeger(name:match "^lunarch%-run%-(%d+)$")
    if pid and select(3, uv.kill(pid, 0)) == "ESRCH" then remove(MEMORY .. "/" .. name) end
  end
end

local function kill_group(pid)
  return uv.kill(-pid, "sigkill")
end

local function prepare(job)
  local base = OUT .. "/" .. job.name:gsub("[^%w._-]", "_")
  job.output, job.report, job.complaints = base .. ".out", base .. ".report", base .. ".sanitizer"
  os.remove(job.report)
  for _, path in ipairs(verdict.complaints_of(job)) do
    os.remove(path)
  end
  job.tmp = TMP .. "/lunarch-" .. job.name:gsub("[^%w._-]", "_")
  uv.fs_mkdir(job.tmp, 448)
  job.n_tries, job.is_late = job.n_tries + 1, false
  job.started_ms, job.started_ns = uv.now(), uv.hrtime()
end

local function start(job, options, settings, on_end)
  prepare(job)
  local fd = assert(uv.fs_open(job.output, "w", 420))
  local timer = uv.new_timer()
  local handle, pid
  handle, pid = uv.spawn("setpriv", {
    args = command_of(job, options, settings),
    env = environment_of(job, options, settings),
    cwd = ROOT,
    stdio = { nil, fd, fd },
    detached = true,
  }, function(status, signal)
    handle:close()
    timer:close()
    job.status, job.signal = status, signal
    job.seconds = (uv.now() - job.started_ms) / 1000
    kill_group(pid)
    remove(job.tmp)
    on_end(job)
  end)
  uv.fs_close(fd)
  assert(handle, pid)
  job.pid = pid
  timer:start(job.limit_s * 1000, 0, function()
    job.is_late = true
    kill_group(pid)
  end)
end

local function keep_busy(n)
  for _ = 1, n do
    local handle = assert(uv.spawn("setpriv", {
      args = { "--pdeathsig", "KILL", "lua5.4", ROOT .. "/spec/support/busy.lua" },
    }))
    handle:unref()
  end
end

-- ---- all of them ------------------------------------------------------------------------------------------------

-- Most of a file's time is waiting: on two cores all together take some 480 s of CPU, their children's included.
local function parallelism()
  local asked = os.getenv "JOBS"
  if asked then return math.tointeger(tonumber(asked)) or usage("JOBS=" .. asked .. " is not a whole number") end
  return math.max(4, math.min(8, 3 * #uv.cpu_info()))
end

local options = options_of(arg)
local settings = sanitizers.environment(options.tsan and "tsan" or options.asan and "asan" or nil)
local lengths = read_lengths()
local jobs = jobs_of(options, lengths)
if options.needs then
  print(table.concat(needs_of(jobs), " "))
  os.exit(0)
end
local running, n_running, total = {}, 0, { passed = 0, failed = 0, skipped = 0 }
local ended, cpu_since = {}, costs.meter()
-- One after the other; the last is what is run again, alone.
local crowd, serial, again = { at_once = parallelism() }, { at_once = math.min(parallelism(), #uv.cpu_info()) }, {
  at_once = 1,
}
local stages = { crowd, serial, again }
for _, job in ipairs(jobs) do
  table.insert(job.is_serial and serial or crowd, job)
end

io.stdout:setvbuf "line"
uv.fs_mkdir(OUT, 493)
remove_leftovers()
assert(uv.fs_mkdir(TMP, 448))
local machine = stalls.watch(TMP .. "/stalls")
keep_busy(options.busy or 0)
if #jobs == 0 then
  print("no test matches " .. (#options.wanted > 0 and table.concat(options.wanted, " ") or "anything"))
  total.failed = 1
end

local heartbeat = uv.new_timer()
local interrupts = { uv.new_signal(), uv.new_signal() }

local function stop_waiting()
  heartbeat:close()
  for _, signal in ipairs(interrupts) do
    signal:close()
  end
end

local fill

local function on_end(job)
  running[job], n_running = nil, n_running - 1
  job.cpu_s = cpu_since()
  verdict.judge(job, options.filter ~= nil)
  verdict.show(job)
  local may_try_again = job.failed > 0 and not job.is_late and job.n_tries < MOST_TRIES
  local stall_s = may_try_again and machine.longest(job.started_ns) or 0
  if stall_s >= STALL_S then
    print(("again %s: the machine stood still for %.2f s meanwhile"):format(job.name, stall_s))
    table.insert(again, job)
  else
    lengths[job.name] = job.seconds
    ended[#ended + 1] = job
    for name in pairs(total) do
      total[name] = total[name] + job[name]
    end
  end
  fill()
end

local function start_next(list)
  local job = table.remove(list, 1)
  running[job], n_running = true, n_running + 1
  start(job, options, settings, on_end)
end

fill = function()
  while stages[1] do
    local stage = stages[1]
    while stage[1] and n_running < stage.at_once do
      start_next(stage)
    end
    if n_running > 0 then return end
    table.remove(stages, 1)
  end
  stop_waiting()
end

heartbeat:start(HEARTBEAT_MS, HEARTBEAT_MS, function()
  for job in pairs(running) do
    print(("...   %s (%d s)"):format(job.name, (uv.now() - job.started_ms) // 1000))
  end
end)
for i, name in ipairs { "sigint", "sigterm" } do
  interrupts[i]:start(name, function()
    for job in pairs(running) do
      kill_group(job.pid)
    end
    remove(TMP)
    print "interrupted"
    os.exit(130)
  end)
end

fill()
uv.run()
local longest_s = machine.longest(0)
if longest_s >= STALL_S then print(("(the machine stood still for %.2f s once)"):format(longest_s)) end
remove(TMP)
write_lengths(lengths)
if options.times then costs.show(ended) end
if total.skipped > 0 then print(("(%d skipped: not possible here)"):format(total.skipped)) end
print(("%d passed, %d failed"):format(total.passed, total.failed))
os.exit(total.failed == 0 and 0 or 1)
