-- examples/failover.lua on three hosts. From outside: each write to /config/billing bears the name of the candidate
-- that was first in the line at that revision.
local stage = require "examples.stage"
local tree = require "support.tree"

local KEY, TTL, QUIET_S = "/config/billing", 3, 0.2

local Play = stage.kind("/services/billing", { "A", "B", "C" })

-- All writes there were, until none came for a while.
function Play:troubles()
  local found, n = {}, 0
  local watch = assert(self.client:watch(KEY, { revision = 1 }))
  while true do
    local event = watch:next(QUIET_S)
    if not event then break end
    local first = self:line(event.revision)[1]
    n = n + 1
    if not first or first.value ~= event.value then
      found[#found + 1] = ("%s wrote at revision %d, while %s was first"):format(event.value, event.revision,
        first and first.value or "nobody")
    end
  end
  watch:close()
  if n < #self.names then found[#found + 1] = ("there were only %d writes"):format(n) end
  return found
end

return function()
  local self = stage.begin(Play)
  for _, name in ipairs(self.names) do
    self:add(function(endpoint)
      return {
        "lunarch", "run", tree.root .. "/examples/failover.lua", "--name", name, "--ttl", TTL,
        "--endpoints", endpoint, "--only-given-endpoints",
      }
    end)
  end
  return self
end
