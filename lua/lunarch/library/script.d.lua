---@meta _
-- luacheck: ignore 111 131 212 241 431
-- The globals of a script of `lunarch run` and `lunarch sim`, for editors: what it may set and define, and what it
-- finds. The handlers are those of lunarch.candidate_options.

-- ---- settings: flags win over them ------------------------------------------------------------------------------

--- The name to stand for, "/services/billing" for example.
---@type string?
election = nil

--- Who we are, in logs and to the others. Default: the name of the host and the process.
---@type string?
name = nil

--- Seconds until a dead leader is replaced. Default: 10.
---@type integer?
ttl = nil

--- How many seconds before the end a leader is told to stop. Default: a sixth of the TTL.
---@type number?
grace = nil

--- Seconds from one do_work (or do_standby) to the next, unless it says. Default: 1.
---@type number?
interval = nil

--- How many seconds on_lost may take. Default: 10.
---@type number?
stop_timeout = nil

--- Seconds from one call of may_stand and health to the next. Default: 5.
---@type number?
health_interval = nil

--- How many seconds such a call may take. Default: health_interval.
---@type number?
health_timeout = nil

--- How many failures of health in a row make the candidate unhealthy. Default: 3.
---@type integer?
health_failures = nil

--- Where etcd is, as for lunarch.connect.
---@type string|string[]|nil
endpoints = nil

--- In place of endpoints, as for lunarch.connect.
---@type string?
discovery_srv = nil

---@type string?
discovery_srv_name = nil

--- Of the connection: a global of each option of lunarch.connect counts; these are those whose names are not a
--- script's own.
---@type string?
prefix = nil

---@type string?
cacert = nil

---@type string?
server_name = nil

---@type boolean?
insecure_skip_tls_verify = nil

---@type boolean?
only_given_endpoints = nil

-- ---- handlers: defined by the script ----------------------------------------------------------------------------

--- We lead: before the first do_work of a term. Interrupted at its waits when the term ends.
---@param term lunarch.term
function on_elected(term) end

--- The work, called again and again while we lead. Interrupted at its waits when the term ends.
---@param term lunarch.term
---@return number|false|nil seconds until the next call; false: resign, others go first
function do_work(term) end

--- The term is over: after on_elected was entered, whatever came of it.
---@param term lunarch.term
---@param reason lunarch.lost_reason
function on_lost(term, reason) end

--- The leader has changed; `leader.value` is nil while there is none.
---@param leader lunarch.followed_leader
function on_leader(leader) end

--- Called again and again while we do not lead.
---@param leader lunarch.followed_leader
---@return number? seconds until the next call
function do_standby(leader) end

--- etcd has not answered for half a TTL.
---@param term lunarch.term
function on_jeopardy(term) end

--- It answers again.
---@param term lunarch.term
function on_safe(term) end

--- Whether the candidate may stand, and why not; or a command, may_stand = { "test", "-e", "/ready" }: asked before it
--- stands and while it waits in the line.
---@return boolean?, string?
function may_stand() end

--- Whether the candidate is healthy, and what is wrong; or a command, health = { "pg_isready", "-q" }: asked at all
--- times. After `health_failures` failures in a row it leaves the line, or steps down ("unhealthy").
---@return boolean?, string?
function health() end

--- SIGHUP has had the script loaded anew, and it is this on_reload, of the script as it is now. Not called where the
--- script could not be loaded: it goes on as it was then.
function on_reload() end

-- ---- what a script finds ----------------------------------------------------------------------------------------

--- The module, as by require "lunarch".
---@type lunarch
lunarch = nil

--- To stderr, with time, level and candidate; --log-level says what is written.
---@class lunarch.log
---@field debug fun(format: string, ...: any)
---@field info fun(format: string, ...: any)
---@field warn fun(format: string, ...: any)
---@field error fun(format: string, ...: any)
log = {}

--- Declares a further candidate, with what the script's globals and the flags say where the options do not.
---@param options lunarch.candidate_options
---@return lunarch.candidate
function candidate(options) end
