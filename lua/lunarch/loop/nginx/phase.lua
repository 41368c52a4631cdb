-- In which of nginx's phases a call can wait. Those where it cannot are listed: a phase that is not known here may well
-- be a new one that can.
local args = require "lunarch.internal.args"

args.is_ours()

local core = require "lunarch.core"

local get_phase = ngx.get_phase

local phase = {}

-- By the names of ngx.get_phase: the directive.
local CANNOT_WAIT = {
  init = "init_by_lua*", init_worker = "init_worker_by_lua*", set = "set_by_lua*",
  header_filter = "header_filter_by_lua*", body_filter = "body_filter_by_lua*", log = "log_by_lua*",
  balancer = "balancer_by_lua*", ssl_session_store = "ssl_session_store_by_lua*",
}

--- How a wait that begins here is made: "park" (the light thread yields), "block" where nothing else is left to be held
--- up; nil: not at all.
function phase.wait_mode()
  local name = get_phase()
  if name == "exit_worker" then return "block" end
  return not CANNOT_WAIT[name] and core.is_yieldable() and "park" or nil
end

--- Raises where a call that may wait cannot.
function phase.check()
  local name = get_phase()
  if name == "init" then
    args.misuse("nothing can wait in init_by_lua*, before nginx has its workers: do it in a timer that "
      .. "init_worker_by_lua* starts")
  elseif CANNOT_WAIT[name] then
    args.misuse("nothing can wait in %s: nginx does not allow it; start a timer that does: "
      .. "ngx.timer.at(0, function() ... end)", CANNOT_WAIT[name])
  elseif name ~= "exit_worker" and not core.is_yieldable() then
    args.misuse("nothing can wait inside a function that C calls (the callback of string.gsub or table.sort, the body "
      .. "of a module that is required, a finalizer): do it before or after")
  end
end

function phase.is_timer()
  return get_phase() == "timer"
end

--- Whether this is where nginx is about to fork, or has not begun to.
function phase.is_before_fork()
  return get_phase() == "init"
end

return phase
