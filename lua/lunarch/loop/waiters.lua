-- Those that wait for one thing, each in its own world, and are woken together.
local args = require "lunarch.internal.args"
local block = require "lunarch.loop.block"
local common = require "lunarch.loop.common"
local each = require "lunarch.internal.each"
local loop = require "lunarch.loop"

args.is_ours()

local Waiters = {}
Waiters.__index = Waiters

local waiters = {}

function waiters.new()
  return setmetatable({ waits = {} }, Waiters)
end

local function forget(wait)
  wait.waits[wait] = nil
end

--- Waits until wake() is called; false: not within `seconds`, nil for no limit. Raises where the task is interrupted.
function Waiters:await(seconds)
  local world = loop.world()
  if not world.suspend or world.is_stuck and world.is_stuck() then return block.in_vain(seconds) end
  if world.prepare then world.prepare() end
  local wait = { cancel = forget, waits = self.waits, world = world }
  self.waits[wait] = true
  local is_woken = world.suspend(wait, seconds)
  self.waits[wait] = nil
  common.raise_if_late(world)
  return is_woken
end

--- From anywhere, callbacks of luv's included; does not wait.
function Waiters:wake()
  for wait in each(self.waits) do
    self.waits[wait] = nil
    wait.world.wake(wait)
  end
end

return waiters
