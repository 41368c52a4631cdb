-- The world of `lunarch console --dev`: a private etcd, which ends with its last user.
local base = require "lunarch.console.worlds.etcd"

require "lunarch.internal.args".is_ours()

local dev = {}

--- Or nil, what is wrong, exit status. Waits.
function dev.open(options)
  options.flags.dev = options.flags.dev or not options.flags.dev_name
  return base.open(options, {
    name = "dev",
    label = "dev",
    banner = "on a private etcd, which ends with its last user",
  })
end

return dev
