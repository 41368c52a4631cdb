-- How the end of a term is told: in a lab, in the simulator and at a prompt on a real etcd.
require "lunarch.internal.args".is_ours()

local ending = {}

--- What on_lost says. `left_s`: until etcd may let go of a lease that nobody gives back or revokes.
---@param reason string
---@param left_s number
---@return string
function ending.text(reason, left_s)
  local head = ("on_lost (%s)"):format(reason)
  local is_silence = reason == "expired" or reason == "frozen"
  return is_silence and left_s > 0 and ("%-22s%.1f s before another may lead"):format(head, left_s) or head
end

return ending
