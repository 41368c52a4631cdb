---@meta _
-- luacheck: ignore 212 241
-- What candidate.lua and the program `lunarch` offer, for editors.

--- What a handler is told of a leader. `value` is nil while there is none.
---@class lunarch.followed_leader: lunarch.leader
---@field is_me boolean

--- What on_lost is told: as term.reason, or what the candidate itself ended the term for.
---@alias lunarch.lost_reason lunarch.reason|"stopping"|"resigned"|"error"|string

--- Per term: `on_elected` once, then `do_work` any number of times, then `on_lost` once; never two of them at once.
--- `on_lost` follows whenever `on_elected` was entered, also if that failed. `on_elected` and `do_work` are interrupted
--- at their waits when the term ends: those raise an error whose `code` is "lost" and whose `reason` says why.
---@class lunarch.candidate_options
---@field election string the name to stand for, "/services/billing" for example
---@field name? string who we are, in logs and to the others
---@field value? string what a leader makes known to the others. Default: its name
---@field ttl? integer seconds until a dead leader is replaced. Default: 10
---@field grace? number how many seconds before the end a leader is told to stop. Default: a sixth of the TTL
---@field interval? number seconds from one do_work (or do_standby) to the next, unless it says. Default: 1
---@field stop_timeout? number how long on_lost may take. Default: 10
---@field client? lunarch.client to stand through; stays open afterwards
---@field endpoints? string|string[] else a client of its own, for these
---@field log? { info: function, warn: function, error: function } Default: what is no info goes to stderr
---@field on_elected? fun(term: lunarch.term)
---@field do_work? fun(term: lunarch.term): number|false|nil seconds until its next call; false: resign, others go first
---@field on_lost? fun(term: lunarch.term, reason: lunarch.lost_reason)
---@field on_leader? fun(leader: lunarch.followed_leader) whenever the leader changes
---@field do_standby? fun(leader: lunarch.followed_leader): number? again and again while we do not lead
---@field on_jeopardy? fun(term: lunarch.term) etcd has not answered for half a TTL
---@field on_safe? fun(term: lunarch.term) it answers again

--- A driver of handlers: stands, leads, loses, and stands again.
---@class lunarch.candidate
local candidate = {}

--- Returns when it was stopped. Waits; in a task of its own several candidates run side by side.
---@return true
function candidate:run() end

--- Stops the work, calls on_lost, gives the place up and lets run() return. Does not wait; may be called from anywhere.
---@param reason? string for on_lost. Default: "stopping"
function candidate:stop(reason) end
