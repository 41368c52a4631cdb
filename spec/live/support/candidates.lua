-- A script for `lunarch`: candidates of several elections in one process, each with a client of its own, that tell what
-- is done to them and when (teller.lua).
-- luacheck: globals candidate
--
--   lunarch run candidates.lua -- WHO LANE...       a lane is ELECTION,TTL,ENDPOINT,SECONDS OF ONE do_work
local lunarch = require "lunarch"
local teller = require "live.support.teller"

local who = arg[1]
local PAUSE_S, FAREWELL_S, PUT_S = 0.02, 0.02, 0.2

io.stdout:setvbuf "line"

local function say(event, lane, term, more) teller.say(event, lane.election, term, more) end

-- A guarded write: "done", or the code it was refused with.
local function try_put(term)
  local ok, result, _, code = pcall(term.put, term, "/written" .. term.key, who, nil, PUT_S)
  if not ok then return "raised-" .. tostring(type(result) == "table" and result.code or result) end
  return result and "done" or tostring(code)
end

local function declare(lane)
  candidate {
    election = lane.election,
    name = who,
    ttl = lane.ttl,
    endpoints = lane.endpoint,
    on_elected = function(term) say("elected", lane, term) end,
    do_work = function(term)
      say("work", lane, term)
      local ok, err = pcall(lunarch.sleep, lane.work_s)
      if not ok then
        say("failed", lane, term, tostring(err.code) .. " " .. tostring(err.reason))
        say("put", lane, term, try_put(term))
      end
      say("worked", lane, term)
      if not ok then error(err, 0) end
      return PAUSE_S
    end,
    on_lost = function(term, reason)
      say("losing", lane, term, reason)
      lunarch.sleep(FAREWELL_S)
      say("lost", lane, term)
    end,
  }
end

for i = 2, #arg do
  local election, ttl, endpoint, work_s = arg[i]:match "^(.-),(%d+),(.+),(.-)$"
  declare { election = election, ttl = tonumber(ttl), endpoint = endpoint, work_s = tonumber(work_s) }
end
