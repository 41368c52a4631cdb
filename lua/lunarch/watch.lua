-- Watches of keys, and observers of a leader: both are asked for what comes next.
local args = require "lunarch.internal.args"
local handle = require "lunarch.loop.handle"
local loop = require "lunarch.loop"
local values = require "lunarch.internal.values"

args.is_ours()

local watches = {}

-- In a `for` there is no place for an error but to raise it; a watch that was closed just ends.
local function raise_unless_closed(message, code)
  if code ~= "closed" then args.misuse("%s", message) end
  return nil
end

-- ---- watch ------------------------------------------------------------------------------------------------------

local watch_methods = {}
local Watch, check_watch = args.class("watch", watch_methods)

function watches.new_watch(client, core_watch, name)
  return setmetatable({ _client = client, _core = core_watch, _name = name, _events = {}, _at = 1 }, Watch)
end

function watch_methods:next(timeout)
  check_watch(self, "next")
  local ms = args.timeout("watch:next", timeout)
  loop.enter()
  local event = self._events[self._at]
  if not event then
    local events, message, code = handle.await(self, self._core:next(ms))
    if not events then return nil, message, code end
    self._events, self._at = events, 1
    event = events[1]
  end
  self._events[self._at] = false
  self._at = self._at + 1
  return event
end

handle.add_calls("watch", watch_methods, check_watch, { ready = {} })

local function next_event(self)
  local event, message, code = watch_methods.next(self)
  if event then return event end
  return raise_unless_closed(message, code)
end

function watch_methods:events()
  check_watch(self, "events")
  return next_event, self
end

function watch_methods:close()
  check_watch(self, "close")
  self._core:close()
  self._events, self._at = {}, 1
  return true
end

function Watch.__tostring(self)
  return ("lunarch.watch: %q"):format(self._name)
end

function Watch.__close(self)
  self:close()
end

-- ---- observer ---------------------------------------------------------------------------------------------------

local observer_methods = {}
local Observer, check_observer = args.class("observer", observer_methods)

-- `is_me(leader)`, or nil: whether a leader is this very candidate.
function watches.new_observer(client, core_observer, name, is_me)
  return setmetatable({ _client = client, _core = core_observer, _name = name, _is_me = is_me }, Observer)
end

handle.add_calls("observer", observer_methods, check_observer, {
  next = {
    finish = function(self, _, leader, message, code)
      if leader == nil then return nil, message, code end
      leader = leader or setmetatable({}, values.leader)
      if self._is_me then leader.is_me = self._is_me(leader) end
      return leader
    end,
  },
})

function observer_methods:close()
  check_observer(self, "close")
  self._core:close()
  return true
end

function Observer.__call(self)
  local leader, message, code = observer_methods.next(self)
  if leader then return leader end
  return raise_unless_closed(message, code)
end

function Observer.__tostring(self)
  return "lunarch.observer: " .. self._name
end

function Observer.__close(self)
  self:close()
end

return watches
