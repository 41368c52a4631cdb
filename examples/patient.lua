-- Many programs that want to be the only instance, and the cost of their waiting.
--
--   lunarch examples/patient.lua --dev
--
-- Programs that try again and again often do so by entering the queue and leaving it: two writes each time, and the log
-- of etcd grows for nothing. Here a failed attempt writes nothing, and who waits is woken when it is his turn.
local lunarch = require "lunarch"

local ATTEMPTS, WAITERS = 1000, 20
local NAME = "/examples/patient"

local client = assert(lunarch.connect())

local function raft_index()
  local members = assert(client:status())
  for _, member in ipairs(members) do
    if member.raft_index then return member.raft_index end
  end
  error(members[1].error)
end

local holder = assert(client:session()):mutex(NAME)
assert(holder:lock())
local session = assert(client:session())

local before = raft_index()
for _ = 1, ATTEMPTS do
  local _, message, code = session:mutex(NAME):try_lock()
  assert(code == "locked", message)
end
local after = raft_index()
print(("%d attempts found the lock taken; raft index before %d, after %d: it grew by %d"):format(
  ATTEMPTS, before, after, after - before))

-- Waiting: each one enters the queue once, sleeps, and is woken by the end of the one before it.
local order = {}
local tasks = {}
for i = 1, WAITERS do
  tasks[i] = lunarch.spawn(function()
    session:mutex(NAME):with(function() order[#order + 1] = i end)
  end)
end
lunarch.sleep(0.5)
local waiting = raft_index()
lunarch.sleep(1)
print(("%d wait; raft index grew by %d in a second of waiting"):format(WAITERS, raft_index() - waiting))

holder:unlock()
for _, task in ipairs(tasks) do
  assert(task:join())
end
print(("all %d had their turn, one after the other"):format(#order))
