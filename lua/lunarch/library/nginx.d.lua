---@meta resty.lunarch
-- luacheck: ignore 212 241 631
-- What there is inside nginx (OpenResty, or Debian's libnginx-mod-http-lua): all of lunarch.d.lua, and this. It is never
-- loaded.
--
-- * Calls that wait yield their own light thread and nothing else, in every phase that nginx lets wait (rewrite, access,
--   content, timers, preread of stream {}, ssl_certificate_by_lua* ...). In init_worker, set, header_filter, body_filter,
--   balancer and log they raise, and say what to do; a release (unlock, resign, close) begins there and goes on by itself.
--   In exit_worker they hold the worker up, and lunarch.spawn and client:mirror return nil, message, "unavailable". They
--   raise too inside a function that C calls (string.gsub, table.sort, require), where LuaJIT cannot yield.
-- * `require "resty.lunarch"` belongs into init_by_lua*: it saves memory, and new workers are at work sooner. lunarch.connect
--   there raises: nginx forks afterwards.
-- * lunarch.spawn starts a timer of nginx's, and returns nil, message, "unavailable" where nginx has none
--   (lua_max_pending_timers); lunarch.run raises. What runs in that timer is part of the task. A task whose light thread
--   ends without returning (ngx.exit) has failed.
-- * A lock that was taken by worker:lock belongs to the request: it is given up when the request ends, after any internal
--   redirect, and what was taken in a subrequest with the main request. A request that ends in the middle of a wait gives
--   up what it waited for. A timer may hand its lock on: it is given up when the timer has ended and nothing refers to it.
--   A watch or an observer of a request that ends is closed by the collector; earlier by close(), in ngx.on_abort say.
-- * A command of lunarch.exec ends with the request, the timer or the light thread that waits for it; ngx.exit in its on_line
--   ends it with the request. A mirror whose on_change calls ngx.exit is closed.
-- * When nginx reloads or quits, a leaving worker serves its requests to their end. Waits in timers are interrupted after a
--   second by an error whose `code` is "cancelled"; those of tasks and mirrors that a handler has begun, once the handler's
--   term has ended. Leases that are left are revoked when the worker's Lua ends.
-- * What goes wrong is logged as an error, since nginx shows nothing else unless it is told to: error_log ... notice adds
--   who stands, and when etcd answers again. The workers need no rights of their own.
-- * Needs: lua_code_cache on; about five connections per worker (worker_connections), and two for each singleton.
-- * coroutine.yield is replaced: in a handler or a task of lunarch it raises when its term is over, and lets nginx's loop
--   turn. Waits of nginx's own (ngx.sleep, cosockets) are not interrupted: a handler that does not end within its time is
--   ended there, with everything in its timer. Light threads that on_elected or do_work has left behind end with the term:
--   ngx.thread.spawn is replaced for that. What computes without a yield holds up the whole worker, and is not ended.
-- * Running timers (lua_max_running_timers): one for all of lunarch in a worker, one for each handler that runs.

-- ---- resty.lunarch ----------------------------------------------------------------------------------------------

---@class resty.lunarch
---@field _VERSION string
local resty = {}

--- Environment variables that lunarch.connect reads have to be named by `env` in nginx.conf.
---@class resty.lunarch.options: lunarch.connection_options
---@field name? string
---@field ttl? integer of the session. Default: 10
---@field grace? number
---@field trace? fun(line: string)

--- What this worker has: one client, and one session, opened when it is first needed and anew after a loss. The same options
--- give the same object; other options in each request are an error in the log, since each set of them keeps a client. Does not
--- wait.
---@param options? resty.lunarch.options
---@return resty.lunarch.worker? worker
---@return string? message
---@return lunarch.code? code
function resty.new(options) end

--- Gives up now the locks that this request and its subrequests have taken by worker:lock. At the end of the request that
--- happens by itself.
--- Waits for nothing.
function resty.release() end

--- For exit_worker_by_lua*, and in other phases an error: calls on_lost of the terms that nginx gave no time to end (nginx -s
--- stop, master_process off), those of singletons and of candidates that are run in timers, gives their places up, and closes
--- the clients of resty.new; holds the worker up for so many seconds at most, on_lost apart. nginx kills a worker that has not
--- ended some 1.5 s after nginx -s stop. Without this call such terms end without their on_lost, and their leases are revoked.
---@param seconds? number Default: 1
function resty.exit_worker(seconds) end

--- lunarch.singleton.
---@param options lunarch.singleton_options
---@return lunarch.singleton singleton
function resty.singleton(options) end

---@class resty.lunarch.worker
---@field client lunarch.client
local worker = {}

--- Locks a name: a mutex of the worker's session, held. "timeout": others hold it; "locked": this request holds it itself, by
--- code that has ended, or a subrequest; "unavailable": there is no session with etcd; "lost", ... Waits; with a timeout of 0 for
--- etcd's answer, a second at most.
---@param name string
---@param timeout? number the session's opening included
---@return lunarch.mutex? lock
---@return string? message
---@return lunarch.code? code
function worker:lock(name, timeout) end

--- Calls `fn` under a lock; what it returns. The lock is given up however `fn` ends, with the request or the timer if ngx.exit
--- ends that. Waits.
---@param name string
---@param timeout? number
---@param fn fun(lock: lunarch.mutex): ...
---@return any ...
function worker:with(name, timeout, fn) end

--- The session of this worker. Waits when it has to be opened.
---@param timeout? number
---@return lunarch.session? session
---@return string? message
---@return lunarch.code? code
function worker:session(timeout) end

-- ---- singletons -------------------------------------------------------------------------------------------------

--- The options of a candidate, and two more. Each call of a handler runs in a timer of its own: ngx.exit in it is an error
--- of that handler, and so is os.exit. A handler for which nginx has no timer (lua_max_running_timers) fails after some
--- seconds, so that another instance can lead.
---@class lunarch.singleton_options: lunarch.candidate_options
---@field per? "instance"|"worker" who stands: one worker of each nginx (the default), or each worker
---@field dict? string a lua_shared_dict for what the workers of an instance tell each other: lunarch's own, which no other
--- code writes to or flushes. Default: "lunarch"
---@field value? string what a leader makes known to the others. Default: the name of the host

--- To be called in init_worker_by_lua*: of all the workers of all nginx instances that name the same election, one runs
--- do_work. Another worker of the instance takes over when the one that stands leaves (within milliseconds), dies, or hangs.
--- What the shared dict says is answered by every worker, without asking etcd. Made in the privileged agent, it does not
--- stand, and the log says so. When nginx's master is killed with SIGKILL its workers go on, as nginx has it: the one that
--- leads goes on leading, until it is ended itself. A new nginx of the same election waits for it.
---@class lunarch.singleton
local singleton = {}

--- Whether this instance leads (with per = "worker": this worker). True no longer than etcd is certain to agree.
---@return boolean
function singleton:is_leader() end

--- How long it certainly leads from now on, in seconds; 0 when it does not.
---@return number
function singleton:remaining() end

--- Who leads, as far as etcd has told this instance. "no_leader"; "unavailable": it does not know, because etcd has not told it
--- yet, or has been silent for so long that a term of this instance would have ended, or because its own term has just ended.
---@return { value: string, key: string, token: number, is_me: boolean }? leader
---@return string? message
---@return lunarch.code? code
function singleton:leader() end

--- Whether this very worker is the one that stands.
---@return boolean
function singleton:is_standing() end

--- Gives the place up for good, on_lost first. Does not wait. A worker that is told to leave does this by itself.
---@param reason? string for on_lost
function singleton:stop(reason) end

---@class lunarch
local lunarch = {}

---@param options lunarch.singleton_options
---@return lunarch.singleton singleton
function lunarch.singleton(options) end

return resty
