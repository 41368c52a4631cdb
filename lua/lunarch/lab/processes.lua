-- Real processes as lunarch.lab.world drives them: a private cluster of three members, and each candidate a `lunarch`
-- of its own, connected through proxies that can be cut, in one more process. Time is real.
local clusters = require "lunarch.lab.cluster"
local processes = require "lunarch.lab.process"
local proxies = require "lunarch.lab.proxies"
local transfer = require "lunarch.lab.transfer"
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local driver = {}

local Lab = {}
Lab.__index = Lab

local MACHINES, MEMBERS = 16, 3
local STOP_S, STEP_S = 2, 0.02
local FIRST_S, ASK_S = 10, 0.5

-- What happens is told to on_message(machine, message), on_log(machine, level, text), on_life(machine, text).
function driver.open()
  local lunarch = require "lunarch"
  local cluster, trouble = clusters.open()
  if not cluster then return nil, trouble end
  return setmetatable({
    lunarch = lunarch, proxies = proxies.open(),
    tasks = require "lunarch.loop.task", cluster = cluster, began = lunarch.now(),
    members = MEMBERS, max_machines = MACHINES, machines = {},
  }, Lab)
end

-- ---- time -------------------------------------------------------------------------------------------------------

function Lab:now() return self.lunarch.now() - self.began end

-- The clock of a machine is that of this machine.
function Lab:instant(at) return at - self.began end

function Lab:sleep_until(at)
  local left = at - self:now()
  if left > 0 then self.lunarch.sleep(left) end
end

function Lab:later(seconds, fn)
  self.lunarch.spawn(function()
    self.lunarch.sleep(seconds)
    fn()
  end)
end

function Lab:suspend(wait, seconds) return self.tasks.suspend(wait, seconds) end

function Lab:wake(wait) self.tasks.wake(wait) end

function Lab:get_client() return self.cluster.client end

-- ---- machines ---------------------------------------------------------------------------------------------------

local function open_links(self, machine)
  if machine.links then return end
  machine.links = {}
  for i, member in ipairs(self.cluster.members) do
    machine.links[i] = self.proxies:ask { verb = "open", port = member.port }
  end
end

local function words_of(machine)
  local endpoints = {}
  for i, link in ipairs(machine.links) do
    endpoints[i] = ("127.0.0.1:%d"):format(link.port)
  end
  -- The members themselves would be a way around a link that is cut.
  return processes.words_of("lunarch.lab.machine", "--log", "json", "--only-given-endpoints",
    "--endpoints", table.concat(endpoints, ","))
end

local UNESCAPE = { n = "\n", t = "\t", r = "\r" }

-- The level and the message of a line of a JSON log.
local function parse_log(line)
  local level = line:match '"level":"(%a+)"'
  local text = line:match '"message":"(.*)"}$'
  if not level or not text then return "warn", line end
  return level, (text:gsub("\\(.)", function(char) return UNESCAPE[char] or char end))
end

local function on_message(self, machine, line)
  local message = transfer.decode(line)
  if message then self.on_message(machine, message) end
end

-- Returns once it has said something: what is asked of it then is asked of a candidate.
function Lab:start(machine, spec)
  open_links(self, machine)
  local out, err, reports, orders = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
  machine.orders, machine.pause, machine.is_gone = orders, nil, false
  local own
  own = processes.start(words_of(machine), { nil, out, err, reports, orders }, function(status, signal)
    if machine.process ~= own then return end
    machine.is_gone = true
    self.on_life(machine, status, signal)
  end)
  machine.process = own
  self.machines[machine] = true
  processes.each_line(out, function(line) self.on_log(machine, "print", line) end)
  processes.each_line(err, function(line) self.on_log(machine, parse_log(line)) end)
  processes.each_line(reports, function(line) on_message(self, machine, line) end)
  self:send(machine, spec)
end

function Lab:send(machine, order)
  if machine.is_gone then return false end
  machine.orders:write(transfer.encode(order) .. "\n", function() end)
  return true
end

function Lab:is_up(machine)
  return machine.process ~= nil and not machine.is_gone, machine.pause ~= nil
end

function Lab:kill(machine)
  machine.is_gone = true
  machine.process.kill "sigkill"
end

function Lab:stop(machine) machine.process.kill "sigterm" end

function Lab:resume(machine)
  if not machine.pause then return end
  machine.pause = nil
  self.on_resumed(machine)
  machine.process.kill "sigcont"
end

function Lab:pause(machine, seconds)
  local own = {}
  machine.pause = own
  machine.process.kill "sigstop"
  self:later(seconds, function()
    if machine.pause == own then self:resume(machine) end
  end)
end

function Lab:cut(machine, member, is_cut)
  self.proxies:ask { verb = "cut", link = machine.links[member].link, is_cut = is_cut }
end

function Lab:slow(machine, member, seconds)
  self.proxies:ask { verb = "slow", link = machine.links[member].link, seconds = seconds }
end

-- ---- members ----------------------------------------------------------------------------------------------------

local SIGNALS = { freeze = "sigstop", thaw = "sigcont", crash = "sigkill" }

function Lab:member(act, index)
  if act == "start" then return self.cluster:start_again(index) end
  self.cluster:signal(index, SIGNALS[act])
end

-- A member that was frozen may take itself for the leader for a while: the highest term counts.
function Lab:etcd_leader()
  local leader, term = nil, 0
  local index_of = {}
  for i, endpoint in ipairs(self.cluster:endpoints()) do
    index_of[endpoint] = i
  end
  for _, member in ipairs(self:get_client():status(ASK_S) or {}) do
    if member.is_leader and member.raft_term > term then
      leader, term = index_of[member.endpoint], member.raft_term
    end
  end
  return leader
end

-- The alarm by etcd's JSON gateway: no client of etcd's can raise it.
function Lab:fill(is_full)
  local body = ('{"action":"%s","memberID":"1","alarm":"NOSPACE"}'):format(is_full and "ACTIVATE" or "DEACTIVATE")
  local wait = { cancel = function() end }
  local socket = uv.new_tcp()
  local function finish()
    if not socket:is_closing() then socket:close() end
    self:wake(wait)
  end
  socket:connect("127.0.0.1", self.cluster.members[1].port, function(trouble)
    if trouble then return finish() end
    socket:write(("POST /v3/maintenance/alarm HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Type: "
      .. "application/json\r\nContent-Length: %d\r\n\r\n%s"):format(#body, body))
    socket:read_start(function(_, data) if not data then finish() end end)
  end)
  self:suspend(wait, FIRST_S)
end

--- Ends everything.
function Lab:close()
  local function any_up()
    for machine in pairs(self.machines) do
      if not machine.process.has_ended then return true end
    end
    return false
  end
  for machine in pairs(self.machines) do
    machine.process.kill "sigterm"
    machine.process.kill "sigcont"
    for member = 1, MEMBERS do
      pcall(self.cut, self, machine, member, false)
    end
  end
  local till = self:now() + STOP_S
  while any_up() and self:now() < till do
    self.lunarch.sleep(STEP_S)
  end
  for machine in pairs(self.machines) do
    machine.process.kill "sigkill"
  end
  self.proxies:close()
  self.cluster.client:close(1)
  self.cluster:close()
  self.lunarch.sleep(STEP_S)
end

return driver
