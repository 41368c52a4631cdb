-- Where commands come from: C. The simulator has a file of its own in this one's place (lunarch.cli.sim.commands).
require "lunarch.internal.args".is_ours()

local core = require "lunarch.core"

return { open = core.commands }
