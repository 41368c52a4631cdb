-- Timers of nginx's, in which tasks and handlers run.
--
-- nginx refuses a timer where too many are pending (lua_max_pending_timers), and drops one that is due where too many
-- run (lua_max_running_timers) or no connection is left (worker_connections). A dropped timer has not begun when it is
-- looked for a second later: this is an error in the log, and it is set again.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"

args.is_ours()

local log = require "lunarch.loop.nginx.log"

local timers = {}

local unbegun = {}      -- what each timer that has not begun calls: { fn =, n_looks =, limit = or nil, on_drop = }

local RAISE_RUNNING = "set lua_max_running_timers (256 unless set) higher in nginx.conf, or worker_connections if "
  .. "its log says so"
local RAISE_PENDING = "set lua_max_pending_timers (1024 unless set) higher in nginx.conf"

local function fire(_, birth)
  if not unbegun[birth] then return end
  unbegun[birth] = nil
  birth.fn()
end

-- True, or nil and a message that names the directive.
local function set(birth)
  local is_allowed, ok, err = pcall(ngx.timer.at, 0, fire, birth)
  if not is_allowed then return nil, "nginx starts no timer here: " .. tostring(ok) end
  if ok then return true end
  local message = ("nginx starts no timer: %s: %s"):format(tostring(err), RAISE_PENDING)
  log.seldom("pending", message)
  return nil, message
end

--- Calls `fn` in a timer of its own, later. A table for timers.forget, or nil, message, code: nginx refuses it. Where
--- nginx drops the timer it is set again each second; at most `limit` times if that is given, and then on_drop(message)
--- is called instead of `fn`.
function timers.begin(fn, limit, on_drop)
  local birth = { fn = fn, n_looks = 0, limit = limit, on_drop = on_drop }
  local ok, message = set(birth)
  if not ok then return nil, message, "unavailable" end
  unbegun[birth] = true
  return birth
end

--- Whether the timer had not begun; then it never will.
function timers.forget(birth)
  local was_unbegun = unbegun[birth] ~= nil
  unbegun[birth] = nil
  return was_unbegun
end

--- To be called once a second.
function timers.look()
  for birth in each(unbegun) do
    birth.n_looks = birth.n_looks + 1
    -- It may have been set a moment before the first look.
    if birth.n_looks > 1 then
      local message = "nginx dropped a timer: " .. RAISE_RUNNING
      log.seldom("running", message, "; trying again each second")
      if birth.limit and birth.n_looks > birth.limit then
        unbegun[birth] = nil
        birth.on_drop(message)
      else
        set(birth)
      end
    end
  end
end

return timers
