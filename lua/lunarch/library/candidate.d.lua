---@meta _
-- luacheck: ignore 212 241
-- What candidate.lua and the program `lunarch` offer, for editors.

--- What a handler gets to know of a leader. `value` is nil while there is none.
---@class lunarch.followed_leader: lunarch.leader
---@field is_me boolean

--- What on_lost is told: as term.reason, or what the candidate itself ended the term for.
---@alias lunarch.lost_reason lunarch.reason|"stopping"|"resigned"|"error"|"exit"|"unhealthy"|"handed_over"|string

--- Per term: `on_elected` once, then `do_work` any number of times, then `on_lost` once; never two of them at once.
--- `on_lost` follows whenever `on_elected` was entered, also if that failed. `on_elected` and `do_work` are interrupted
--- at their waits when the term ends: those raise an error whose `code` is "lost" and whose `reason` says why.
---
--- A handler that catches this error and goes on is told again at each wait; after a second of that, at each
--- instruction. One that has not ended when the place may be another's, or `stop_timeout` seconds after it was told to,
--- is not resumed any more. A handler that does not come back to the loop (a long loop, os.execute) cannot be stopped.
--- Under the program `lunarch` the log says all the same when its term ends and when another may lead; elsewhere
--- (plain Lua, nginx) nothing is said until it returns, because the log is Lua, and Lua is busy.
---
--- `on_leader` is called with us once `on_elected` has begun, and with another, or with no leader, once our `on_lost`
--- has returned. It gets the latest leader, not every one. Where etcd was silent for longer than a term lasts, the
--- leader is read anew when etcd answers, and told if it is another than before.
---
--- Fitness. `may_stand` and `health` are called in tasks of their own, beside the handlers: they are content when they
--- return a true value; false or nil (and why), an error, and no answer within `health_timeout` are failures. A check
--- that hangs is interrupted, and holds up neither the work nor `on_lost`; one that does not come back to the loop
--- holds up everything. A check may be a command as for lunarch.exec, { "pg_isready", "-q" }: content when its exit
--- status is 0; it is ended within `health_timeout`. Both are called every `health_interval`. `may_stand` counts
--- before the candidate stands and while it waits in the line: one failure, and it leaves the line. `health` counts at
--- all times: the candidate stands once it has succeeded; after `health_failures` failures in a row the candidate
--- leaves the line, or, while it leads, steps down in order (`on_lost`, reason "unhealthy"), until it succeeds again.
--- Why is said once in the log.
---
--- Requests. Candidates hear of `lunarch switchover` and `lunarch pause` by keys beside the line
--- (/lunarch:request:...), through one watch of all candidates of a client. They step aside, leave the line and step
--- down in order; a request is advice, never a proof of leadership. Where etcd's users may not read and write such
--- keys, requests are not heard.
---
--- The end of the process. A program that ends itself while a candidate runs stops it first: `on_lost`, then the place
--- is given up, then it ends as it would have ended. That holds for
---
--- * os.exit(...), wherever it is called (reason "exit"): it does not return, nothing after it runs, and the first call
---   counts. In `on_lost` it ends that handler;
--- * SIGTERM, SIGHUP, SIGQUIT and SIGINT that nothing in the program handles ("stopping"): the program ends by that
---   signal. A second one ends it at once;
--- * Ctrl-C as Lua raises it ("stopping"): candidate:run() and lunarch.run() raise it after the end of all candidates;
--- * an error in a callback of luv's that nothing catches ("error"): told on stderr or in the log of `lunarch`; exit
---   status 255 as by luv, or 1 of `lunarch`;
--- * the end of the main chunk, an error at top level, and lua_close() ("exit"): `on_lost` blocks then, because no task
---   goes on; what was made after the handler had begun may be collected already.
---
--- `on_lost` is given its `stop_timeout` in each case. A killed process runs no `on_lost`: its place lapses.
---@class lunarch.candidate_options: lunarch.connection_options of its own client, where it is given none
---@field election string the name to stand for, "/services/billing" for example
---@field name? string who we are, in logs and to the others
---@field value? string what a leader makes known to the others. Default: its name
---@field ttl? integer seconds until a dead leader is replaced. Default: 10
---@field grace? number how many seconds before the end a leader is told to stop. Default: a sixth of the TTL
---@field interval? number seconds from one do_work (or do_standby) to the next, unless it says. Default: 1
---@field stop_timeout? number how long on_lost, and work that was told to stop, may take. Default: 10
---@field health_interval? number seconds from one call of the checks to the next. Default: 5
---@field health_timeout? number how many seconds a check may take. Default: health_interval
---@field health_failures? integer how many failures of health in a row make it unhealthy. Default: 3
---@field backoff? lunarch.backoff pauses after failures
---@field client? lunarch.client to stand through; stays open afterwards
---@field log? { debug?: function, info: function, warn: function, error: function } Default: warn and error to stderr
---@field on_elected? fun(term: lunarch.term)
---@field do_work? fun(term: lunarch.term): number|false|nil seconds until its next call; false: resign, others go first
---@field on_lost? fun(term: lunarch.term, reason: lunarch.lost_reason)
---@field on_leader? fun(leader: lunarch.followed_leader) whenever the leader changes
---@field do_standby? fun(leader: lunarch.followed_leader): number? again and again while we do not lead
---@field on_jeopardy? fun(term: lunarch.term) etcd has not answered for half a TTL
---@field on_safe? fun(term: lunarch.term) it answers again
---@field on_reload? fun() under the program `lunarch`: SIGHUP has had the script loaded anew
---@field may_stand? (fun(): boolean?, string?)|lunarch.exec_options whether it may stand, and why not
---@field health? (fun(): boolean?, string?)|lunarch.exec_options whether it is healthy, and what is wrong

--- Pauses after failures in a row, each policy as { first, longest } in seconds: a pause is random between half of its
--- length and all of it, and the length doubles from the first to the longest.
--- A term of 30 s ends a row. After an error in a term all candidates of the election count together, by a key beside
--- the line: the length is that of all failures in a row, times the number of candidates that fail, up to twice the
--- longest. So a line whose candidates all fail goes through few tokens; a healthy one gets the place at once.
---@class lunarch.backoff
---@field connect? number[] no answer from etcd: to get a session, a place, the leader. Default: { 0.25, 5 }
---@field stand? number[] a term ended by an error, by do_work's false or as unhealthy. Default: { 1, 30 }
---@field standby? number[] do_standby failed. Default: { 1, 30 }

--- A driver of handlers: stands, leads, loses, and stands again.
---@class lunarch.candidate
local candidate = {}

--- Returns when it was stopped. Waits; in a task of its own several candidates run side by side. When the wait is
--- interrupted (task:interrupt, Ctrl-C) the candidate is stopped, and the error raised once it has ended.
---@return true
function candidate:run() end

--- Stops the work, calls on_lost, gives the place up and lets run() return. Does not wait; may be called from anywhere.
---@param reason? string for on_lost. Default: "stopping"
function candidate:stop(reason) end

--- From now on it does not stand: where it waits in the line, it leaves; where it leads, it goes on until its term
--- ends. Does not wait; may be called from anywhere, more than once.
function candidate:pause() end

--- It stands again after a pause. Does not wait; may be called from anywhere.
function candidate:resume() end
