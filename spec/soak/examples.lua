-- The part `examples` of ./dev soak: each play of spec/examples/plays under every fault, 20 times
-- (LUNARCH_TURNS=n).
local faults = require "examples.faults"
local tree = require "support.tree"
local uv = require "luv"

local EACH = math.tointeger(tonumber(os.getenv "LUNARCH_TURNS" or 20))
local FOLDER = tree.root .. "/spec/examples/plays"

local function names()
  local wanted, found = os.getenv "LUNARCH_EXAMPLE", {}
  local scan = uv.fs_scandir(FOLDER)
  for file in function() return uv.fs_scandir_next(scan) end do
    local name = file:match "^(.*)%.lua$"
    if name and (not wanted or wanted == name) then found[#found + 1] = name end
  end
  table.sort(found)
  return found
end

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
---@param law fun(what: string, troubles: string[])
return function(say, verdict, law)
  for _, name in ipairs(names()) do
    local start = require("examples.plays." .. name)
    say("examples: %s, %d times under each fault", name, EACH)
    local play = start()
    local ok, rows, troubles = pcall(faults.run, play, EACH)
    if ok then
      for _, row in ipairs(rows) do
        verdict(row.n == EACH, ("%s: %d times; another leads after %.2f s at the median, %.2f s at most"):format(
          row.kind, row.n, row.median_s, row.longest_s))
      end
      law("the invariant, seen from outside", troubles)
    else
      verdict(false, name .. " broke off", { tostring(rows) })
    end
    play:stop()
  end
end
