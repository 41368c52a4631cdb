-- The proxies between the lab's candidates and its members (lunarch.lab.proxy), as the lab orders them.
local processes = require "lunarch.lab.process"
local tasks = require "lunarch.loop.task"
local transfer = require "lunarch.lab.transfer"
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local proxies = {}

local Proxies = {}
Proxies.__index = Proxies

local ANSWER_S = 10

local function end_wait(self, id, answer)
  local wait = self.asked[id]
  self.asked[id] = nil
  if not wait then return end
  wait.answer = answer
  tasks.wake(wait)
end

local function take_end(self)
  self.has_ended = true
  for id in pairs(self.asked) do
    end_wait(self, id, { trouble = "their process has ended" })
  end
end

--- Gives an order and waits for its answer; raises where it fails.
---@param order table see lunarch.lab.proxy
---@return table
function Proxies:ask(order)
  if self.has_ended then error("the proxies of the lab: their process has ended", 0) end
  self.n_asked = self.n_asked + 1
  order.id = self.n_asked
  local wait = { cancel = function() self.asked[order.id] = nil end }
  self.asked[order.id] = wait
  self.orders:write(transfer.encode(order) .. "\n", function() end)
  tasks.suspend(wait, ANSWER_S)
  self.asked[order.id] = nil
  local answer = wait.answer or { trouble = ("no answer within %d s"):format(ANSWER_S) }
  if answer.trouble then error("the proxies of the lab: " .. answer.trouble, 0) end
  return answer
end

function Proxies:close()
  self.process.kill "sigkill"
end

--- Starts their process. Does not wait.
function proxies.open()
  local reports, orders = uv.new_pipe(false), uv.new_pipe(false)
  local self = setmetatable({ orders = orders, asked = {}, n_asked = 0 }, Proxies)
  self.process = processes.start(processes.words_of "lunarch.lab.proxy", { nil, nil, nil, reports, orders },
    function() take_end(self) end)
  processes.each_line(reports, function(line)
    local answer = transfer.decode(line)
    if answer then end_wait(self, answer.id, answer) end
  end)
  self.orders:write(transfer.encode {} .. "\n", function() end)
  return self
end

return proxies
