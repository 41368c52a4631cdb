-- ./dev chaos [MINUTES]: three members of etcd and five candidates as real processes, and what can be done to them.
local uv = require "luv"

local options, complaint = require "chaos.options".read(arg)
if not options then
  io.stderr:write("chaos: ", complaint, "\n")
  os.exit(2)
end
if options.help then
  print(require "chaos.options".HELP)
  os.exit(0)
end

if options.schedule then
  for i, track in ipairs { require "chaos.schedule".draw(options.seed, options.seconds, options.ttl) } do
    if i > 1 then print() end
    for _, one in ipairs(track) do
      print(("%7.1f s  %-10s  %-9s for %4.1f s, %s"):format(one.at, one.track, one.kind, one.length,
        one.role == "leader" and "of the leader" or "of another"))
    end
  end
  os.exit(0)
end

-- What etcd and the logs write goes here, and goes in the end; ./dev test removes what a run that was killed left.
local MEMORY = uv.fs_access("/dev/shm", "W") and "/dev/shm" or "/tmp"
local FOLDER = ("%s/lunarch-run-%d"):format(MEMORY, uv.os_getpid())
assert(uv.fs_mkdir(FOLDER, 448))
uv.os_setenv("LUNARCH_TMP", FOLDER)

local play = require "chaos.play"
local process = require "support.process"
local report = require "chaos.report"
local tree = require "support.tree"
local verdict = require "chaos.verdict"
local wire = require "chaos.wire"

process.is_apart = true

local interrupts = 0
local function is_interrupted() return interrupts > 0 end
for _, name in ipairs { "sigint", "sigterm", "sighup" } do
  local signal = uv.new_signal()
  signal:start(name, function()
    interrupts = interrupts + 1
    if interrupts > 1 then
      tree.remove(FOLDER)
      os.exit(130)
    end
    io.stderr:write("chaos: interrupted: ending what was started, and writing the report (once more: at once)\n")
  end)
end

local progress = options.json and io.stderr or io.stdout
local function say(line)
  progress:write(line, "\n")
  progress:flush()
end

local function main()
  local networks = wire.is_at_hand() and "network namespaces" or "proxies"
  say(("chaos: %.0f s of faults, seed %d, TTL %d s; three members, five candidates, %s (Ctrl-C ends it, and reports)")
    :format(options.seconds, options.seed, options.ttl, networks))
  local outcome = play.run {
    seconds = options.seconds, seed = options.seed, ttl = options.ttl, say = say, is_interrupted = is_interrupted,
  }
  local judged = verdict.of(outcome)
  local text = report.write(outcome, judged, options)
  if options.json then print(report.json(outcome, judged, options)) else say(text) end
  if not judged.is_fine then return 1 end
  return outcome.is_interrupted and 130 or 0
end

local ok, status = xpcall(main, debug.traceback)
tree.remove(FOLDER)
if not ok then
  io.stderr:write("chaos: it broke off: ", tostring(status), "\n")
  status = interrupts > 0 and 130 or 1
end
os.exit(status)
