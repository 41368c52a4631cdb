-- The world of `lunarch console --endpoints`: a cluster that others rely on. Reading is free; what changes something of
-- others asks first.
local endpoints = require "lunarch.internal.endpoints"
local base = require "lunarch.console.worlds.etcd"
local guard = require "lunarch.console.guard"

require "lunarch.internal.args".is_ours()

local cluster = {}

--- Or nil, what is wrong, exit status. Waits.
function cluster.open(options)
  return base.open(options, {
    name = "cluster", may = options.ask, on_client = guard.watch,
    banner = "on etcd at " .. (options.flags.endpoints or select(2, endpoints.variable()) or endpoints.DEFAULT),
  })
end

return cluster
