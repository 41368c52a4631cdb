-- Runs the C unit tests and the spec files, each in a process of its own, a few at a time, and adds them up.
-- ./dev test calls it; the last line reads `N passed, N failed`.
--
-- A unit test is a program made from spec/unit/*/*_test.c or spec/alike/*_test.c, which prints "not ok ..." for what
-- fails and ends with "N passed, N failed", or with status 77 where it cannot run. A spec file is spec/**/*_spec.lua.
-- Files whose names end in _serial_test or _serial_spec run at the end, alone, because they measure time or take all of
-- the machine. A file is given 120 s; a line `-- limit: 300 s` near its top gives it more. A spec file runs on Lua 5.4,
-- and below spec/module on LuaJIT too, unless a line `-- vms: lua5.4 luajit` near its top says otherwise. With --tsan
-- only the unit tests are run: the Lua VM is not instrumented.
local uv = require "luv"

local ROOT = assert(os.getenv "LUNARCH_ROOT", "run this by ./dev test")
local BUILD = assert(os.getenv "LUNARCH_BUILD", "run this by ./dev test")
local OUT = BUILD .. "/spec"
local LENGTHS = OUT .. "/lengths"
local LIMIT_S = 120
local SANITIZER_SLOWNESS = 3
local HEARTBEAT_MS = 30000
local SHOWN_LINES = 60
local UNIT_SKIPPED = 77
local VMS = { ["lua5.4"] = "lua5.4", luajit = BUILD .. "/unit/luajit" }
local MODULE_VMS = "lua5.4 luajit"
local COMPLAINT_BYTES = 4000
local MEMORY = uv.fs_access("/dev/shm", "W") and "/dev/shm" or "/tmp"
local TMP = ("%s/lunarch-run-%d"):format(MEMORY, uv.os_getpid())

local function usage(problem)
  io.stderr:write("test: ", problem, "\n")
  os.exit(2)
end

-- ---- what to run ------------------------------------------------------------------------------------------------

local function options_of(args)
  local options = { asan = false, tsan = false, restless = false, filter = nil, vm = nil, wanted = {} }
  for _, word in ipairs(args) do
    if word == "--asan" or word == "--tsan" or word == "--restless" then
      options[word:sub(3)] = true
    elseif word:match "^%-%-filter=." then
      options.filter = word:match "^%-%-filter=(.*)"
    elseif word:match "^%-%-vm=" then
      options.vm = word:match "^%-%-vm=(.*)"
      if not VMS[options.vm] then usage("there is no VM '" .. options.vm .. "': lua5.4 or luajit") end
    elseif word:match "^%-" then
      usage("unknown flag " .. word)
    else
      options.wanted[#options.wanted + 1] = (word:gsub("^%./", ""):gsub("/+$", ""))
    end
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
  return found
end

local function is_wanted(path, wanted)
  for _, part in ipairs(wanted) do
    if path:find(part, 1, true) then return true end
  end
  return #wanted == 0
end

local function read_file(path)
  local file = io.open(path, "r")
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

local function limit_of(path, options)
  local seconds = tonumber(read_file(ROOT .. "/" .. path):sub(1, 1000):match "limit: (%d+) s\n") or LIMIT_S
  return seconds * ((options.asan or options.tsan) and SANITIZER_SLOWNESS or 1)
end

local function vms_of(path)
  local named = read_file(ROOT .. "/" .. path):sub(1, 1000):match "%-%- vms: ([%w. ]+)\n"
  return named or path:match "^spec/module/" and MODULE_VMS or "lua5.4"
end

local function add_spec_jobs(jobs, path, options)
  for vm in vms_of(path):gmatch "%S+" do
    if not options.vm or options.vm == vm then
      jobs[#jobs + 1] = {
        name = vm == "lua5.4" and path or path .. " on " .. vm,
        path = path,
        vm = vm,
        is_serial = path:match "_serial_spec%.lua$" ~= nil,
        limit_s = limit_of(path, options),
      }
    end
  end
end

local function jobs_of(options)
  local jobs = {}
  local paths = walk("spec", {})
  table.sort(paths)
  for _, path in ipairs(paths) do
    if is_wanted(path, options.wanted) then
      local unit = path:match "^spec/.*/([^/]+_test)%.c$"
      if unit and not options.filter and not options.vm then
        jobs[#jobs + 1] = {
          name = path,
          path = path,
          program = BUILD .. "/unit/" .. unit,
          is_serial = unit:match "_serial_test$" ~= nil,
          limit_s = limit_of(path, options),
        }
      elseif path:match "_spec%.lua$" and not options.tsan then
        add_spec_jobs(jobs, path, options)
      end
    end
  end
  return jobs
end

-- How long each file took when it was last run here.
local function read_lengths()
  local lengths = {}
  for seconds, path in read_file(LENGTHS):gmatch "([%d.]+) ([^\n]+)" do
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
local function sort_by_length(jobs, lengths)
  for i, job in ipairs(jobs) do
    job.order, job.expected_s = i, lengths[job.name] or job.limit_s
  end
  table.sort(jobs, function(a, b)
    if a.expected_s ~= b.expected_s then return a.expected_s > b.expected_s end
    return a.order < b.order
  end)
end

-- ---- one process ------------------------------------------------------------------------------------------------

local function environment(extra)
  local env = {}
  for name, value in pairs(uv.os_environ()) do
    if extra[name] == nil then env[#env + 1] = name .. "=" .. value end
  end
  for name, value in pairs(extra) do
    if value then env[#env + 1] = name .. "=" .. value end
  end
  return env
end

local function sanitizer_environment(options)
  if options.tsan then
    return { TSAN_OPTIONS = "suppressions=" .. ROOT .. "/spec/unit/tsan.supp" }
  elseif not options.asan then
    return {}
  end
  local pipe = assert(io.popen "gcc -print-file-name=libasan.so; gcc -print-file-name=libubsan.so")
  local asan, ubsan = pipe:read("l", "l")
  pipe:close()
  return {
    preload = asan .. " " .. ubsan,
    -- The leak checker crashes in the thread-local storage of libraries that were loaded late, if it follows it.
    ASAN_OPTIONS = "detect_leaks=1:exitcode=99:intercept_tls_get_addr=0",
    UBSAN_OPTIONS = "print_stacktrace=1",
    LSAN_OPTIONS = "print_suppressions=0:suppressions=" .. ROOT .. "/spec/support/lsan.supp",
  }
end

-- Each process leads a group of its own, so that all it leaves behind can be ended by one number, and dies with us.
local function command_of(job, options, sanitizers)
  local args = { "--pdeathsig", "KILL" }
  local function add(...)
    for _, word in ipairs { ... } do
      args[#args + 1] = word
    end
  end
  if job.vm then
    if sanitizers.preload then add("env", "LD_PRELOAD=" .. sanitizers.preload) end
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
    if pid and not uv.kill(pid, 0) then remove(MEMORY .. "/" .. name) end
  end
end

local function kill_group(pid)
  return uv.kill(-pid, "sigkill")
end

-- What the sanitizers wrote, one file for each process that had something to complain of.
local function complaints_of(job)
  local paths = {}
  local scan = uv.fs_scandir(OUT)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local path = OUT .. "/" .. name
    if path:sub(1, #job.complaints + 1) == job.complaints .. "." then paths[#paths + 1] = path end
  end
  table.sort(paths)
  return paths
end

local function start(job, options, sanitizers, on_end)
  local base = OUT .. "/" .. job.name:gsub("[^%w._-]", "_")
  job.output, job.report, job.complaints = base .. ".out", base .. ".report", base .. ".sanitizer"
  os.remove(job.report)
  for _, path in ipairs(complaints_of(job)) do
    os.remove(path)
  end
  local fd = assert(uv.fs_open(job.output, "w", 420))
  job.tmp = TMP .. "/lunarch-" .. job.name:gsub("[^%w._-]", "_")
  uv.fs_mkdir(job.tmp, 448)
  job.started_ms = uv.now()
  local timer = uv.new_timer()
  local handle, pid
  handle, pid = uv.spawn("setpriv", {
    args = command_of(job, options, sanitizers),
    env = environment {
      LUNARCH_REPORT = job.report,
      LUNARCH_TMP = job.tmp,
      LUNARCH_SANITIZED = options.asan and "1" or false,
      LUNARCH_RESTLESS = options.restless and "1" or false,
      -- Into files of their own: a child's complaint counts even if no spec looks at how it ended. UBSan, loaded beside
      -- ASan, heeds no log_path: stamp.lua picks its lines out.
      ASAN_OPTIONS = options.asan and sanitizers.ASAN_OPTIONS .. ":log_path=" .. job.complaints or false,
      UBSAN_OPTIONS = sanitizers.UBSAN_OPTIONS or false,
      LUNARCH_COMPLAINTS = options.asan and job.complaints or false,
      LSAN_OPTIONS = sanitizers.LSAN_OPTIONS or false,
      TSAN_OPTIONS = sanitizers.TSAN_OPTIONS or false,
    },
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

-- ---- what came of it --------------------------------------------------------------------------------------------

local function fate(job)
  if job.is_late then return ("was ended after its limit of %d s"):format(job.limit_s) end
  if job.signal ~= 0 then return "was killed by signal " .. job.signal end
  return "exited with status " .. job.status
end

local function fail(job, text)
  job.failed = job.failed + 1
  job.troubles[#job.troubles + 1] = text
end

local function judge_spec(job, options)
  local running, is_complete
  for line in read_file(job.report):gmatch "[^\n]+" do
    local verb, seconds, name = line:match "^(%a+) ([%d.]+) (.*)"
    if line == "end" then
      is_complete = true
    elseif line:sub(1, 2) == "| " then
      job.troubles[#job.troubles + 1] = "    " .. line:sub(3)
    elseif line:match "^start " then
      running = line:sub(7)
    elseif verb == "passed" then
      job.passed, running = job.passed + 1, nil
    elseif verb == "skipped" then
      job.skipped, running = job.skipped + 1, nil
    elseif verb == "failed" then
      fail(job, ("failed: %s (%s s)"):format(name, seconds))
      running = nil
    end
  end
  if not is_complete then
    fail(job, ("failed: the file %s before its plan was completed%s"):format(
      fate(job), running and ", in: " .. running or ""))
  elseif job.failed == 0 and (job.status ~= 0 or job.signal ~= 0) then
    fail(job, ("failed: every spec passed, and then the process %s"):format(fate(job)))
  elseif job.passed + job.failed + job.skipped == 0 and not options.filter then
    fail(job, "failed: the file holds no spec")
  end
end

local function judge_unit(job)
  local passed, failed
  for line in read_file(job.output):gmatch "[^\n]+" do
    if line:match "^%d+ passed, %d+ failed$" then passed, failed = line:match "^(%d+)%D+(%d+)" end
    if line:match "^not ok%f[%W]" then table.insert(job.troubles, "failed: " .. line:sub(8)) end
  end
  job.passed, job.failed = tonumber(passed) or 0, tonumber(failed) or 0
  if job.status == UNIT_SKIPPED then
    job.skipped = 1
  elseif not passed then
    fail(job, ("failed: the program %s before its plan was completed"):format(fate(job)))
  elseif job.failed == 0 and #job.troubles > 0 then
    fail(job, "failed: the program does not count what failed in it")
  elseif job.failed == 0 and (job.status ~= 0 or job.signal ~= 0) then
    fail(job, ("failed: every test passed, and then the program %s"):format(fate(job)))
  end
end

local function judge_complaints(job)
  for _, path in ipairs(complaints_of(job)) do
    fail(job, "failed: a sanitizer complains, in " .. path)
    for line in read_file(path):sub(1, COMPLAINT_BYTES):gmatch "[^\n]+" do
      table.insert(job.troubles, "    " .. line)
    end
  end
end

local function show(job)
  local counts = job.passed .. " passed"
  if job.failed > 0 then counts = counts .. ", " .. job.failed .. " failed" end
  if job.skipped > 0 then counts = counts .. ", " .. job.skipped .. " skipped" end
  print(("%-5s %s  %s, %.1f s"):format(job.failed > 0 and "FAIL" or "ok", job.name, counts, job.seconds))
  if job.failed == 0 then return end
  for _, trouble in ipairs(job.troubles) do
    print("      " .. trouble)
  end
  local lines = {}
  for line in read_file(job.output):gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  if #lines == 0 then return end
  print("      its output" .. (#lines > SHOWN_LINES and ", the end of " .. job.output or "") .. ":")
  for i = math.max(1, #lines - SHOWN_LINES + 1), #lines do
    print("      > " .. lines[i])
  end
end

-- ---- all of them ------------------------------------------------------------------------------------------------

local function parallelism()
  local asked = os.getenv "JOBS"
  if asked then return math.tointeger(tonumber(asked)) or usage("JOBS=" .. asked .. " is not a whole number") end
  return math.max(2, math.min(4, #uv.cpu_info()))
end

local options = options_of(arg)
local sanitizers = sanitizer_environment(options)
local jobs = jobs_of(options)
local lengths = read_lengths()
sort_by_length(jobs, lengths)
local running, total = {}, { passed = 0, failed = 0, skipped = 0 }
local queue, serial = {}, {}
for _, job in ipairs(jobs) do
  table.insert(job.is_serial and serial or queue, job)
end

io.stdout:setvbuf "line"
uv.fs_mkdir(OUT, 493)
remove_leftovers()
assert(uv.fs_mkdir(TMP, 448))
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
  running[job] = nil
  job.passed, job.failed, job.skipped, job.troubles = 0, 0, 0, {}
  if job.vm then judge_spec(job, options) else judge_unit(job) end
  judge_complaints(job)
  show(job)
  lengths[job.name] = job.seconds
  for name in pairs(total) do
    total[name] = total[name] + job[name]
  end
  fill()
end

fill = function()
  local function count()
    local n = 0
    for _ in pairs(running) do n = n + 1 end
    return n
  end
  while queue[1] and count() < parallelism() do
    local job = table.remove(queue, 1)
    running[job] = true
    start(job, options, sanitizers, on_end)
  end
  if not queue[1] and count() == 0 then
    local job = table.remove(serial, 1)
    if not job then return stop_waiting() end
    running[job] = true
    start(job, options, sanitizers, on_end)
  end
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
remove(TMP)
write_lengths(lengths)
if total.skipped > 0 then print(("(%d skipped: not possible here)"):format(total.skipped)) end
print(("%d passed, %d failed"):format(total.passed, total.failed))
os.exit(total.failed == 0 and 0 or 1)
