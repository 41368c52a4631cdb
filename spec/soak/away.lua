-- The part `away` of ./dev soak: etcd is killed and serves again 5 s after that, while candidates lead, in one process
-- and in many.
local away = require "live.support.away"

local AWAY_S, TIMES, RECOVERED_S, MOST_KB = 5, 10, 1, 40

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(say, verdict)
  say("away: etcd killed, and serving again %d s later, %d times, TTL 10", AWAY_S, TIMES)
  for _, case in ipairs { { processes = 1, candidates = 1000 }, { processes = 50, candidates = 1 } } do
    local scene = away.start(case.processes, case.candidates)
    local where = ("%d candidates in %d processes"):format(case.processes * case.candidates, case.processes)
    if case.processes == 1 then
      local kb = scene:kb_each()
      verdict(kb <= MOST_KB, ("%s: %.1f kB of memory each (bar: %d)"):format(where, kb, MOST_KB))
    end
    local lost, slowest, longest_s = 0, 0, 0
    for _ = 1, TIMES do
      local result = scene:try(AWAY_S)
      lost, slowest = lost + result.lost, math.max(slowest, result.recovered_s)
      longest_s = math.max(longest_s, result.away_s)
    end
    scene:stop()
    verdict(lost == 0, ("%s: %d terms lost; away for %.2f s at most"):format(where, lost, longest_s))
    verdict(slowest <= RECOVERED_S, ("%s: etcd's first answer to the last renewal confirmed: %.2f s at most (bar: %g)")
      :format(where, slowest, RECOVERED_S))
  end
end
