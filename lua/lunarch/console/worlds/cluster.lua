-- The world of `lunarch console --endpoints`: a cluster that others rely on. Reading is free; what changes something of
-- others asks first.
local base = require "lunarch.console.worlds.etcd"
local guard = require "lunarch.console.guard"

require "lunarch.args".is_ours()

local cluster = {}

--- Or nil, what is wrong, exit status. Waits.
function cluster.open(options)
  local world, trouble, status = base.open(options, {
    name = "cluster",
    may = options.ask,
    banner = function(client)
      return "on etcd at " .. table.concat(client.endpoints, ",")
    end,
  })
  if not world then return nil, trouble, status end
  guard.watch(world)
  return world
end

return cluster
