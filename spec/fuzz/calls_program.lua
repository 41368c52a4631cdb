-- One run of the fuzzer of calls in a process of its own:
--   lua5.4 calls_program.lua WORLD ENDPOINT SEED CALLS RECORD     WORLD: plain, luv, cqueues; by `lunarch run`: host
--
-- In a world with tasks each call is made in one, and interrupted when it takes longer than a moment. In the plain
-- world nobody could do so: no time that is given to a call is long.
local root = assert(os.getenv "LUNARCH_ROOT")
local calls = dofile(root .. "/spec/fuzz/calls.lua")
local lunarch = require "lunarch"

local world, endpoint, seed, n_calls, record = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4]), arg[5]
-- The limit is below that of the one who watches over us (wait.LIMIT): what is found here is told.
local MOMENT_S, LIMIT_S, SHUTDOWN_S = 0.2, 40, 10

io.stdout:setvbuf "line"

local function count(folder)
  local pipe = assert(io.popen("ls /proc/$PPID/" .. folder .. " | wc -l"))
  local n = tonumber(pipe:read "*a")
  pipe:close()
  return n
end

-- In a task of its own.
local function attempt(call, complain)
  local task = lunarch.spawn(call)
  if task:join(MOMENT_S) ~= nil then return end
  task:interrupt "by the fuzzer"
  if task:join(LIMIT_S) == nil then complain("does not end, though it was interrupted") end
end

local function fuzz(made_by)
  return calls.run {
    root = root, endpoint = endpoint, seed = seed, n_calls = n_calls, record = record, lunarch = lunarch, say = print,
    attempt = made_by, is_bounded = not made_by, may_yield = world ~= "cqueues",
    -- What was collected is the end's affair; a candidate runs until it is stopped.
    leaves_out = { ["lunarch.shutdown"] = true, ["lunarch.candidate:run"] = not made_by },
  }
end

local worlds = { plain = function() fuzz() end }

function worlds.luv() lunarch.run(function() fuzz(attempt) end) end

function worlds.host() fuzz(attempt) end

function worlds.cqueues()
  local cqueues = require "cqueues"
  local controller = cqueues.new()
  controller:wrap(function() fuzz(attempt) end)
  assert(controller:loop())
end

-- Once, so that what is opened for good is open.
local function warm_up()
  local client = assert(lunarch.connect { endpoints = endpoint })
  client:get("/warm", nil, 30)
  client:close(5)
  if world == "luv" then lunarch.run(function() lunarch.sleep(0) end) end
end

warm_up()
local fds = count "fd"
-- Tasks that were spawned and failed are no news here.
io.stderr = nil -- luacheck: ignore 122
local ok, err = xpcall(worlds[world], debug.traceback)
if not ok then
  -- A task that failed with nobody to join it makes run raise in the end.
  if not tostring(err):find "a spawned task failed" then print("finding: " .. tostring(err)) end
end
-- Again and again, since one object keeps another, luv closes in a turn of its loop, and clients take their time.
-- LuaJIT's compiled code keeps what it met as constants.
local left
local until_s = lunarch.now() + LIMIT_S
local jit = rawget(_G, "jit")
repeat
  if jit then jit.flush() end
  collectgarbage()
  if world ~= "host" then lunarch.shutdown(SHUTDOWN_S) end
  if package.loaded.luv and world ~= "host" then package.loaded.luv.run "nowait" end
  left = count "fd"
until left <= fds + 2 or world == "host" or lunarch.now() >= until_s
if left > fds + 2 and world ~= "host" then
  print(("finding: %d descriptors were open before, %d after"):format(fds, left))
end
print "over"
