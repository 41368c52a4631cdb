-- A candidate as the prompt and experiments see it: what is known of it here, without asking; and calls of its term,
-- which are made in its own process.
--
--   a.name  a.election  a.is_up  a.is_paused  a.leads  a.token  a.place
--   a.terms            { { token =, elected =, lost =, reason =, stop_at =, valid_until =, expiry = } ... }, the last
-- is
--                      current; instants in seconds of the world
--   a.elected_at  a.lost_at  a.expiry    of its last term
--   a.term:put(...)    any call of lunarch.term; also :remaining(), :resign() ...
local args = require "lunarch.internal.args"
local transfer = require "lunarch.lab.transfer"

args.is_ours()

local handles = {}

local Handle = { __name = "lunarch.candidate" }
local properties = {}

local function machine_of(handle) return rawget(handle, "_machine") end

local function last_term(machine) return machine.terms[#machine.terms] end

function properties.name(machine) return machine.name end

function properties.election(machine) return machine.spec.election end

function properties.terms(machine) return machine.terms end

function properties.place(machine) return machine.place end

function properties.lease(machine) return machine.instants and machine.instants.lease end

function properties.is_up(machine) return (machine.world.driver:is_up(machine)) end

function properties.is_paused(machine)
  local _, is_paused = machine.world.driver:is_up(machine)
  return is_paused == true
end

function properties.leads(machine)
  local term = last_term(machine)
  if not term or term.lost or term.killed or not machine.world.driver:is_up(machine) then return false end
  return machine.instants ~= nil and machine.world:now() < machine.instants.valid_until
end

function properties.token(machine) return last_term(machine) and last_term(machine).token end

function properties.elected_at(machine) return last_term(machine) and last_term(machine).elected end

function properties.lost_at(machine) return last_term(machine) and last_term(machine).lost end

function properties.reason(machine) return last_term(machine) and last_term(machine).reason end

function properties.expiry(machine)
  local term = last_term(machine)
  return term and (term.expiry or machine.instants and machine.instants.expiry)
end

-- "told to stop in 3.6 s, lost in 4.4 s if etcd stays silent": of a term that lasts.
local function instants_text(machine)
  local now, instants = machine.world:now(), machine.instants
  return ("told to stop in %.1f s, lost in %.1f s if etcd stays silent"):format(math.max(0, instants.stop_at - now),
    instants.valid_until - now)
end

local function term_sentence(machine)
  local term = last_term(machine)
  local head = ("term of %s in %s: "):format(machine.name, machine.spec.election or "its script's election")
  if not term then return head .. "none yet" end
  if properties.leads(machine) then
    return ("%sleads, token %d; %s"):format(head, term.token, instants_text(machine))
  end
  local why = term.killed and "killed" or term.reason or "expired"
  return ("%sover (%s), token %d"):format(head, why, term.token)
end

-- Calls of its term: a.term:put(...) waits for the answer of its process.
function properties.term(machine)
  return setmetatable({}, {
    __name = "lunarch.term",
    __index = function(_, method)
      return function(_, ...)
        local given = transfer.pack_all("the argument", ...)
        return machine.world:ask(machine, { verb = "call", method = method, args = given })
      end
    end,
    __tostring = function() return term_sentence(machine) end,
  })
end

function Handle.__index(handle, name)
  local property = properties[name]
  if property then return property(machine_of(handle)) end
  return args.unknown("candidate", tostring(name), properties, "field")
end

function Handle.__newindex(_, name)
  args.misuse("candidate: '%s' cannot be set", tostring(name))
end

local function sentence(machine)
  local driver, world = machine.world.driver, machine.world
  local is_up, is_paused = driver:is_up(machine)
  if not is_up then return "is down" end
  local state = is_paused and "is paused" or nil
  local term, instants = last_term(machine), machine.instants
  if not term or term.lost or term.killed then return (state and state .. ", " or "") .. "waits in the line" end
  local now = world:now()
  if not instants or now >= instants.valid_until then return (state and state .. ", " or "") .. "has lost its term" end
  local working = machine.working and ", in " .. machine.working or ""
  return ("%sleads, token %d%s; %s"):format(state and state .. ", " or "", term.token, working, instants_text(machine))
end

function Handle.__tostring(handle)
  local machine = machine_of(handle)
  return ("candidate %s: %s"):format(machine.name, sentence(machine))
end

Handle.__console = Handle.__tostring

--- The handle of a machine.
function handles.new(machine)
  return setmetatable({ _machine = machine }, Handle)
end

--- The machine of a handle, or nil.
function handles.machine(value)
  return type(value) == "table" and getmetatable(value) == Handle and machine_of(value) or nil
end

return handles
