-- Pauses between attempts: each row of failures begins with `first_s`, doubles, and stays below `most_s`.
require "lunarch.args".is_ours()

local Backoff = {}
Backoff.__index = Backoff

-- The next pause in seconds: between half of it and all of it, so that those who failed together do not come back
-- together.
function Backoff:next()
  local full = math.min(self.most_s, self.first_s * 2 ^ self.n)
  self.n = self.n + 1
  return full * (0.5 + 0.5 * math.random())
end

function Backoff:reset()
  self.n = 0
end

return function(first_s, most_s)
  return setmetatable({ first_s = first_s, most_s = most_s, n = 0 }, Backoff)
end
