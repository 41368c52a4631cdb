-- examples/cron on three hosts, a period a second. From outside: no period has begun twice.
local stage = require "examples.stage"
local tree = require "support.tree"

local TTL = 3

local Play = stage.kind("/examples/nightly", { "a", "b", "c" })

function Play:troubles()
  local found, n_runs, n_hosts, seen = {}, 0, 0, {}
  for period, host in tree.read(self.file):gmatch "(%d+) (%a)\n" do
    if seen[period] then found[#found + 1] = ("period %s began on %s and on %s"):format(period, seen[period], host) end
    n_hosts = n_hosts + (seen[host] and 0 or 1)
    n_runs, seen[period], seen[host] = n_runs + 1, host, true
  end
  if n_hosts < 2 then found[#found + 1] = ("%d periods, on %d hosts only"):format(n_runs, n_hosts) end
  return found
end

return function()
  local self = stage.begin(Play)
  self.file = tree.folder() .. "/runs"
  for _, name in ipairs(self.names) do
    self:add_program(function(endpoint)
      return {
        "lunarch", "run", tree.root .. "/examples/cron/nightly.lua", "--name", name, "--ttl", TTL,
        "--endpoints", endpoint, "--only-given-endpoints", "--",
        "1", "sh", "-c", ("echo $PERIOD %s >> %s"):format(name, self.file),
      }
    end)
  end
  return self
end
