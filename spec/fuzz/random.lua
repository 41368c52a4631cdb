-- Chance from a seed: the same on every VM, so that a seed repeats a run anywhere.
local random = {}

local Random = {}
Random.__index = Random

---@param seed integer
function random.new(seed)
  return setmetatable({ state = seed % 2147483646 + 1 }, Random)
end

-- 0 to n - 1.
function Random:below(n)
  self.state = self.state * 16807 % 2147483647
  return math.floor(self.state / 2147483647 * n)
end

function Random:chance(percent) return self:below(100) < percent end

function Random:pick(list) return list[self:below(#list) + 1] end

return random
