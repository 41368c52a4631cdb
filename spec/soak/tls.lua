-- The part `tls` of ./dev soak: sessions, locks and elections over TLS and with users for minutes, while certificates
-- are replaced, tokens end, and members fail.
local holders = require "live.support.holders"

local minutes = tonumber(os.getenv "LUNARCH_MINUTES")

local function seconds(usual) return 60 * (minutes or usual) end

local function is_fine(result, troubles)
  return #troubles == 0 and result.lost == 0 and result.failed == 0 and result.overlaps == 0
end

local function counts_of(counts)
  local words = {}
  for name, n in pairs(counts) do
    words[#words + 1] = ("%s %d"):format(name, n)
  end
  table.sort(words)
  return table.concat(words, ", ")
end

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(say, verdict)
  say("tls: certificates of client and server replaced every 10 s for %d s, 50 sessions, a lock a second", seconds(5))
  local result, troubles = holders.through_certificates {
    sessions = 50, clients = 10, ttl = 10, lines = 10, pause = 50, fresh = 1, every = 10, seconds = seconds(5),
  }
  verdict(is_fine(result, troubles), ("replaced %d times: %s"):format(result.replaced, holders.line_of(result)),
    troubles)

  say("tls: tokens that live for 5 s, for %d s, 20 sessions that wait in line", seconds(10))
  local all = holders.through_tokens {
    sessions = 20, clients = 20, ttl = 10, lines = 2, life = 5, seconds = seconds(10),
  }
  for _, one in ipairs(all) do
    verdict(is_fine(one.result, one.troubles), ("%s tokens: %s"):format(one.kind, holders.line_of(one.result)),
      one.troubles)
  end

  say("tls: three members, mutual TLS, users, an election timeout of 300 ms; one after the other fails, for %d s",
    seconds(10))
  result, troubles = holders.through_faults {
    sessions = 20, clients = 10, ttl = 10, lines = 4, every = 2, seconds = seconds(10),
  }
  verdict(is_fine(result, troubles), ("%d faults (%s): %s"):format(result.faults, counts_of(result.counts),
    holders.line_of(result)), troubles)
end
