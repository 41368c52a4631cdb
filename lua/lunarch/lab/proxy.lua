-- The script of the lab's proxies, in a process of their own: what the console does meanwhile holds none of them up.
--
--   order   { id =, verb = "open", port = } -> { id =, link =, port = its own }
--           { id =, verb = "cut", link =, is_cut = }, { id =, verb = "slow", link =, seconds = } -> { id = }
--   an order that fails is answered with { id =, trouble = }
require "lunarch.internal.args".is_ours()

local links = require "lunarch.lab.link"
local lunarch = require "lunarch"
local pipe = require "lunarch.lab.link_pipe"

local IDLE_S = 3600

local open, verbs = {}, {}

function verbs.open(order)
  local link = links.open(order.port)
  open[#open + 1] = link
  return { link = #open, port = link.port }
end

function verbs.cut(order)
  open[order.link]:set_cut(order.is_cut)
  return {}
end

function verbs.slow(order)
  open[order.link]:set_slow(order.seconds)
  return {}
end

pipe.listen(function(order)
  local ok, answer = pcall(verbs[order.verb], order)
  if not ok then answer = { trouble = tostring(answer) } end
  answer.id = order.id
  pipe.send(answer)
end)

while true do
  lunarch.sleep(IDLE_S)
end
