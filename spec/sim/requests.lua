-- Candidates that are asked for switchovers and pauses at random, by operators and by their leaders, for
-- spec/sim/requests_spec.lua and `./dev soak`:
--
--   lunarch sim spec/sim/requests.lua --seeds 1..1000                       with faults
--   lunarch sim spec/sim/requests.lua --seeds 1..1000 --faults none quiet   and without: nothing but requests
--
-- Whatever happens: no more terms are handed over than were asked for; nobody but the named one was elected where an
-- operator was told that it leads; a request for a candidate that does not stand is never prepared. Two leaders at
-- once, and nobody leading once the faults are over, `lunarch sim` looks for by itself. Without faults also: the
-- elected one was named, or was the next one; nobody leads for as long as on_lost takes, and no longer; nobody takes
-- over while the line is paused; a request that cannot succeed ends no term.
-- luacheck: globals election ttl stop_timeout on_elected do_work on_lost check
-- luacheck: read_globals lunarch sim log candidate
election, ttl, stop_timeout = "/ho", 4, 2

local LOSE_S, WITHOUT_S, REQUESTS_S = 0.3, 1, 60
local IS_QUIET = arg[1] == "quiet"
local NAMES, ABSENT = { "A", "B", "C" }, "Z"
local beside = require "lunarch.internal.beside"
local handover = require "lunarch.handover"
local began = lunarch.now()

local function is_time()
  local age = lunarch.now() - began
  return age < REQUESTS_S -- timing: the simulator's
end

local function anybody() return NAMES[math.random(4)] end

-- A request that names another goes on: that one was to be elected.
local function check_named(term)
  local value = term.election.session.client:get(handover.switchover_key(election), nil, 1)
  local fields = beside.decode(value)
  if fields.state == "going" and fields.place ~= term.key then
    sim.note("wrong", ("%s was elected, %s was to be"):format(term.key, fields.place))
  end
end

function on_elected(term)
  sim.add "elected"
  sim.note("latest", term.value)
  if IS_QUIET then check_named(term) end
end

function do_work(term)
  if math.random(40) == 1 and is_time() then
    sim.add "asked"
    term:hand_over(anybody(), 2)
  elseif math.random(80) == 1 and is_time() and term:hand_over(ABSENT, 2) then
    sim.note("wrong", "a term was handed over to a candidate that does not stand")
  end
  return 0.2
end

function on_lost(_, reason)
  if reason == "handed_over" then sim.add "handed" end
  if reason == "stopping" then sim.note("is_stopping", true) end
  lunarch.sleep(LOSE_S * math.random())
end

-- ---- operators ---------------------------------------------------------------------------------------------------

local function switch(client)
  local to = math.random(4) == 1 and ABSENT or anybody()
  if to ~= ABSENT then sim.add "asked" end
  local request = handover.ask(client, election, { to = to, by = "an operator", within = 1 + 5 * math.random() })
  if not request then return end
  local leader, why, code = handover.await(client, request)
  if leader and to and leader.value ~= to then
    sim.note("wrong", ("%s leads, %s was to"):format(leader.value, to))
  elseif code == "unknown" and IS_QUIET then
    sim.note("wrong", why)
  end
  sim.add(leader and "done" or code)
end

local function pause(client)
  if not handover.pause(client, election, { by = "an operator", seconds = 3 }) then return end
  lunarch.sleep(0.3 + 2 * math.random())
  handover.resume(client, election)
end

lunarch.spawn(function()
  local client = lunarch.connect()
  while is_time() do
    lunarch.sleep(8 * math.random())
    if math.random(4) == 1 then pause(client) else switch(client) end
  end
end)

-- ---- what must hold ----------------------------------------------------------------------------------------------

local without_since, elected_before, paused_since, handed_before

local function check_hopeless(world)
  local fields = beside.decode(world:get(handover.switchover_key(election)))
  if fields.to ~= ABSENT then
    handed_before = nil
    return true
  end
  if fields.state ~= "asked" and fields.state ~= "refused" then
    return false, ("a request for a candidate that does not stand is %s"):format(fields.state)
  end
  handed_before = handed_before or world.notes.handed or 0
  return not IS_QUIET or handed_before == (world.notes.handed or 0), "a request that cannot succeed ended a term"
end

-- How long nobody has been elected, once anybody was.
local function check_gap(world)
  local is_led = not world.notes.latest or world.notes.is_stopping
  for _, one in ipairs(world.candidates) do
    is_led = is_led or one.is_elected
  end
  without_since = not is_led and (without_since or world.now) or nil
  local gap = without_since and world.now - without_since or 0
  if gap > WITHOUT_S then return false, ("nobody has led for %.1f s"):format(gap) end
end

-- Nobody takes over in the middle of a pause.
local function check_pause(world)
  local is_paused = world:get(handover.pause_key(election)) ~= nil
  local n = world.notes.elected or 0
  local has_begun = paused_since and world.now - paused_since > 0.1
  local handed = world.notes.handed or 0
  if is_paused and has_begun and n ~= elected_before.n and handed == elected_before.handed then
    return false, "another took over while the line was paused"
  end
  paused_since = is_paused and (paused_since or world.now) or nil
  elected_before = { n = n, handed = handed }
end

function check(world)
  local notes = world.notes
  if notes.wrong then return false, notes.wrong end
  if (notes.handed or 0) > (notes.asked or 0) then
    return false, ("%d terms were handed over, %d were asked for"):format(notes.handed, notes.asked)
  end
  local is_untouched, touched = check_hopeless(world)
  if not is_untouched then return false, touched end
  if not IS_QUIET then return end
  -- One is elected at the beginning, and one for each term that was handed over.
  if not notes.is_stopping and (notes.elected or 0) > 1 + (notes.handed or 0) then
    return false, ("%d were elected, %d were handed over"):format(notes.elected, notes.handed or 0)
  end
  local ok, why = check_gap(world)
  if ok == false then return ok, why end
  return check_pause(world)
end
