-- lunarch version
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local host = require "lunarch.host"

args.is_ours()

local version = { summary = "show the version", usage = { "" } }

function version.define() end

---@return integer status
function version.run()
  print("lunarch " .. host.version)
  return exit.DONE
end

return version
