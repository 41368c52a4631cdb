-- Ten thousand commands, one after the other and fifty at once: nothing is left of them.
local held = require "support.held"
local lunarch = require "lunarch"
local tree = require "support.tree"

local N, AT_ONCE = 10000, 50
local N_BEFORE = 3000 -- until the allocator holds as much as it needs
local MOST_KB = 512 -- of resident memory: the allocator's own, not one command's

local function resident_kb()
  return tonumber(tree.read("/proc/self/status"):match "VmRSS:%s+(%d+)")
end

-- Some succeed, some are ended, some are not found.
local function one(i)
  local kind = i % 10
  if kind == 3 then return select(3, lunarch.exec { "sleep", 1000, timeout = 0.01 }) == "timeout" end
  if kind == 7 then return select(3, lunarch.exec { "no-such-program" }) == "invalid" end
  local result = lunarch.exec { "cat", stdin = ("x"):rep(i % 3000) }
  return result and #result.stdout == i % 3000
end

local function run(from, to)
  local n_wrong = 0
  lunarch.run(function()
    for first = from, to, AT_ONCE do
      local tasks = {}
      for i = first, math.min(first + AT_ONCE - 1, to) do
        tasks[#tasks + 1] = lunarch.spawn(function() if not one(i) then n_wrong = n_wrong + 1 end end)
      end
      for _, task in ipairs(tasks) do task:join() end
    end
  end)
  for i = from, from + (to - from) // 10 do
    if not one(i) then n_wrong = n_wrong + 1 end
  end
  collectgarbage()
  collectgarbage()
  return n_wrong
end

return function(say, verdict)
  say("exec: %d commands, %d at once and one by one", N, AT_ONCE)
  run(1, N_BEFORE)
  local before, kb = held(), resident_kb()
  local n_wrong = run(1, N)
  local after, grown_kb = held(), resident_kb() - kb
  verdict(n_wrong == 0, ("%d ended otherwise than they should"):format(n_wrong))
  verdict(before.fds == after.fds, ("%d descriptors before, %d after"):format(before.fds, after.fds))
  verdict(before.children == after.children, "no child is left: " .. (after.children:gsub("%s+$", "")))
  verdict(grown_kb <= MOST_KB, ("resident memory grew by %d kB (bar: %d)"):format(grown_kb, MOST_KB))
end
