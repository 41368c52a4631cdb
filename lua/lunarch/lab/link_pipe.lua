-- A machine's way to its world, in a process of its own: orders come in on one descriptor and reports go out on
-- another, a line each.
local transfer = require "lunarch.lab.transfer"
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local REPORTS_FD, ORDERS_FD = 3, 4

local reports, orders = uv.new_pipe(false), uv.new_pipe(false)
assert(reports:open(REPORTS_FD))
assert(orders:open(ORDERS_FD))
reports:unref()
orders:unref()

local link = { instant = function(seconds) return seconds end }

function link.send(message)
  -- The one who reads may be gone: then there is nobody to tell.
  reports:write(transfer.encode(message) .. "\n", function() end)
end

local queue, on_order, rest = {}, nil, ""

local function take(order)
  if on_order then on_order(order) else queue[#queue + 1] = order end
end

--- Calls fn with each order, from the loop.
function link.listen(fn)
  on_order = fn
  for _, order in ipairs(queue) do
    fn(order)
  end
end

-- What it is to be is the first line.
local function on_data(_, data)
  if not data then return end
  local text = rest .. data
  for line in text:gmatch "([^\n]*)\n" do
    local message = transfer.decode(line)
    if link.spec == nil then link.spec = message else take(message) end
  end
  rest = text:match "[^\n]*$"
end

orders:read_start(on_data)
orders:ref()
while link.spec == nil do
  uv.run "once"
end
orders:unref()

return link
