-- The part `nginx` of ./dev soak: its runs in their long form, and the bars they have to reach.
local heavy = require "nginx.support.heavy"
local median = require "support.median"

local RELOADS, RELOAD_PAUSE_S, ROUNDS, ROUND_S, STARTS = 50, 0.5, 7, 7, 5
local MORE_MS, HAND_OVER_MS, MORE_MB, LOAD_MS = 1, 200, 12, 20

local function worst(rounds, name)
  local most = 0
  for _, round in ipairs(rounds) do
    most = math.max(most, round[name])
  end
  return most
end

local function median_of(rounds, name)
  local list = {}
  for i, round in ipairs(rounds) do
    list[i] = round[name]
  end
  return median(list)
end

local function n_failed_requests(rounds)
  local n = 0
  for _, round in ipairs(rounds) do
    n = n + round.plain.n_failed + round.beside.n_failed
  end
  return n
end

local function delays(say, verdict)
  say("nginx: a 1 ms timer in each worker at half load, 200 locks/s inside or outside of nginx, %d rounds of %d s",
    ROUNDS, ROUND_S)
  local result = heavy.delays(ROUNDS, ROUND_S)
  for _, name in ipairs { "outside", "inside" } do
    local rounds = result[name]
    say("       %-7s p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, most %.2f ms; %.0f of %.0f plain requests/s", name,
      median_of(rounds, "p50"), median_of(rounds, "p99"), median_of(rounds, "p999"), worst(rounds, "most"),
      rounds[1].plain.per_s, result.full)
  end
  local more = median_of(result.inside, "p99") - median_of(result.outside, "p99")
  verdict(more <= MORE_MS, ("p99 %+.2f ms where the locks are taken inside (bar: %d)"):format(more, MORE_MS))
  local n = n_failed_requests(result.inside) + n_failed_requests(result.outside)
  verdict(n == 0, n .. " requests failed", result.log)
end

local function reloads(say, verdict, law)
  say("nginx: %d reloads at half load, a singleton at work", RELOADS)
  local result = heavy.reloads(RELOADS, RELOAD_PAUSE_S)
  local n_failed_here = result.plain.n_failed + result.locks.n_failed
  verdict(n_failed_here == 0, ("%d of %d requests failed, %d of %d locks"):format(result.plain.n_failed, result.plain.n,
    result.locks.n_failed, result.locks.n), result.troubles)
  law("do_work on one worker at a time", result.disorder)
  local n = #result.hand_overs
  verdict(n >= RELOADS and result.hand_overs[n] < HAND_OVER_MS, ("%d hand-overs: %.0f ms at the median, %.0f at most "
    .. "(bar: %d)"):format(n, median(result.hand_overs), result.hand_overs[n], HAND_OVER_MS))
  verdict(result.n_workers == 2 and result.n_leases == 0, ("%d workers, and after quitting %d leases are left; an old "
    .. "worker took %.2f s at most to leave"):format(result.n_workers, result.n_leases, result.slowest_s))
end

local function memory(say, verdict)
  say("nginx: memory and loading, %d starts", STARTS)
  local result = heavy.memory(STARTS)
  verdict(result.with - result.bare <= MORE_MB, ("a worker has %.1f MB, without us %.1f (bar: %d more)"):format(
    result.with, result.bare, MORE_MB))
  verdict(result.load_ms <= LOAD_MS, ("loading takes %.0f ms, %.1f of them CPU (bar: %d)"):format(result.load_ms,
    result.load_cpu_ms, LOAD_MS))
end

return function(say, verdict, law)
  delays(say, verdict)
  reloads(say, verdict, law)
  memory(say, verdict)
end
