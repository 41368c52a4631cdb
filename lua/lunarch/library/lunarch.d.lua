---@meta lunarch
-- luacheck: ignore 212 241 631
-- Every public call of Lunarch, for people and for the Lua language server. It is never loaded.
--
-- For all calls:
--
-- * Times are seconds (numbers, fractions too), timeouts come last, and a timeout of nil means no limit.
-- * A call that needs etcd *waits*: a task (lunarch.spawn, lunarch.run, the handlers of the host) yields meanwhile;
--   elsewhere the thread blocks, but tasks go on. Every call marked "Waits." does so, and no other.
-- * Misuse - a wrong argument, an unknown option, a lock locked twice by one object - raises, with your file and line. What
--   the world can do to you is returned: `nil, message, code`. The codes of all waiting calls are `timeout cancelled closed
--   unavailable unauthenticated permission_denied no_space invalid no_memory`; further ones are named with the call.
-- * Revisions and tokens are integers. A lease id is a string of 16 lower-case hexadecimal digits. Keys and values are
--   strings that may hold any byte.
-- * An object that is collected gives up what it holds in the background; on Lua 5.4 one in a `<close>` variable is
--   released, waiting at most 5 seconds for the answer. A client that is reachable through a session, mutex, election,
--   term or watch is not collected.

---@class lunarch
---@field version string three numbers with dots between them
---@field _VERSION string "lunarch " and the version
local lunarch = {}

---@alias lunarch.code
---| '"locked"'            # another holds it
---| '"timeout"'           # the time allowed for it has passed
---| '"cancelled"'         # the wait was cancelled
---| '"lost"'              # the session or the place is lost
---| '"closed"'            # the handle, or its client or session, is closed
---| '"unavailable"'       # no etcd member answered
---| '"unknown"'           # the reply to a write was lost: it may or may not have happened
---| '"no_leader"'         # the election has no leader
---| '"not_leader"'        # we are not the leader any more
---| '"not_owner"'         # we do not hold the lock
---| '"compacted"'         # the revision asked for has been compacted
---| '"unauthenticated"'   # etcd does not accept the credentials
---| '"permission_denied"' # the user may not do this
---| '"no_space"'          # etcd's database is full
---| '"invalid"'           # etcd refused the request
---| '"refused"'           # a hand-over cannot be done: nothing was changed
---| '"no_memory"'

---@alias lunarch.reason
---| '"expired"'         # no renewal was confirmed in time
---| '"revoked"'         # the lease was revoked
---| '"key_deleted"'     # our key was deleted
---| '"frozen"'          # this process was not running
---| '"closed"'          # we gave it up ourselves
---| '"unauthenticated"' # etcd accepts our credentials no more
---| '"replaced"'        # etcd began anew: restored, wiped or rebuilt
---| '"permission_denied"' # etcd's user may not renew the lease any more: it has no right to one of its keys

-- ---- connecting -------------------------------------------------------------------------------------------------

---@class lunarch.connection_options
---@field endpoints? string[]|string members of etcd, as a list or separated by commas: "host:port", "http://host:port", "https://host:port", "[IPv6]:port", "unix:///path", or "srv://domain" alone. Default: LUNARCH_ENDPOINTS, then ETCDCTL_ENDPOINTS, then 127.0.0.1:2379
---@field discovery_srv? string in place of `endpoints`: a domain, whose SRV records name the members, as etcdctl has it: _etcd-client._tcp.DOMAIN, or over TLS (where one of its options is set) _etcd-client-ssl._tcp.DOMAIN. Members of the lowest priority are asked first; DNS is asked again when all members are silent. The endpoint "srv://DOMAIN" is the same (LUNARCH_DISCOVERY_SRV, ETCDCTL_DISCOVERY_SRV)
---@field discovery_srv_name? string of several clusters in one domain: _etcd-client-NAME._tcp.DOMAIN; "srv://DOMAIN/NAME" (LUNARCH_DISCOVERY_SRV_NAME, ETCDCTL_DISCOVERY_SRV_NAME)
---@field prefix? string "/team-a": this client sees, watches and writes only keys below it, and knows them without it, names of locks and elections included. It is put before each key as it is; where it does not end in '/', keys and names have to begin with one (LUNARCH_PREFIX)
---@field cacert? string authorities to trust: a path, or the PEM text. Default: LUNARCH_CACERT, ETCDCTL_CACERT, then the system's. TLS is spoken when an endpoint begins with https:// or one of these options is set; files are read again when they are replaced
---@field cert? string this client's certificate, for servers that want one: a path, or the PEM text (LUNARCH_CERT, ETCDCTL_CERT)
---@field key? string its key, not encrypted: a path, or the PEM text (LUNARCH_KEY, ETCDCTL_KEY)
---@field server_name? string the name to find in the servers' certificates, in place of each endpoint's host (LUNARCH_SERVER_NAME)
---@field insecure_skip_tls_verify? boolean accepts any certificate: no protection against a false server (LUNARCH_INSECURE_SKIP_TLS_VERIFY)
---@field only_given_endpoints? boolean no member but those of `endpoints` is used. By default members that are added to the cluster, or replace others, are learnt from its list of members a second after the first answer and again when a member fails: at most 16, those alone that answer at the address listed, over TLS if the endpoints are, and show that they belong to this cluster; never an address of this machine, unless an endpoint given is one (LUNARCH_ONLY_GIVEN_ENDPOINTS)
---@field user? string one of etcd's users, "name" or "name:password" (LUNARCH_USER, ETCDCTL_USER). None is needed where a client's certificate names one; given both, the user counts
---@field password? string (LUNARCH_PASSWORD, ETCDCTL_PASSWORD)
---@field password_file? string a file whose first line is the password (LUNARCH_PASSWORD_FILE)

---@class lunarch.connect_options: lunarch.connection_options
---@field name? string who we are, for others who find a lock held. Default: the program's name
---@field loop? "auto"|"block"|"luv"|"cqueues"|lunarch.loop how calls wait. Default, "auto": chosen at each call. "block": they always block the thread, in tasks too. "luv", "cqueues": they block anywhere else
---@field log? fun(level: string, message: string) is told once, in plain Lua, that no etcd has answered the first call for 3 s. Default: one line on stderr
---@field trace? fun(line: string) is called with a line for each step of the core, while a call waits. Default: LUNARCH_TRACE=1 prints to stderr

--- Makes a client, which connects when first needed. Does not wait: an etcd that is not there is noticed by the first
--- call.
---@param options? lunarch.connect_options
---@return lunarch.client? client
---@return string? message
---@return lunarch.code? code
function lunarch.connect(options) end

--- A driver of handlers: see lunarch.candidate.
---@type fun(options: lunarch.candidate_options): lunarch.candidate
lunarch.candidate = nil

--- Seconds of CLOCK_BOOTTIME: the clock of `stop_at` and `valid_until`.
---@return number
function lunarch.now() end

--- Waits at least so many seconds. `lunarch.sleep(0)` in a task lets the others go on first.
---@param seconds number
---@return true
function lunarch.sleep(seconds) end

---@class lunarch.exec_options
---@field [integer] string|number the program, found in PATH unless it holds a "/", and its arguments. No shell: { "sh", "-c", text } is one
---@field timeout? number seconds; then its process group gets SIGTERM. Default: no limit
---@field kill_after? number seconds from SIGTERM to SIGKILL. Default: 2
---@field env? table<string, string|number|false> changes of the environment; false takes a variable away. A password or private key in LUNARCH_* and ETCDCTL_* is handed on only where it is given here
---@field cwd? string the folder it runs in. Default: ours
---@field stdin? string what it reads. Default: nothing (/dev/null)
---@field on_line? fun(line: string, from: "stdout"|"stderr") is called with each line as it comes, in the task that waits; lines of more than 64 KiB come in parts. An error in it ends the command, and is raised. While it waits itself, so does the command, once much has gathered
---@field keep? integer of stdout and of stderr the last so many bytes are kept. Default: 1 MiB
---@field term? lunarch.term|lunarch.mutex|lunarch.session the command ends with it. Default: in the handlers of a candidate, its term

---@class lunarch.exec_result
---@field code? integer its exit status
---@field signal? integer the number of the signal that ended it, if one did
---@field stdout string
---@field stderr string
---@field stdout_dropped integer how many bytes came before those that are kept
---@field stderr_dropped integer

--- Runs another program, and returns how it ended, whatever its exit status: `assert(lunarch.exec { "true" }).code == 0`.
--- Waits, in every world: tasks, cqueues and requests of nginx yield; elsewhere the thread blocks.
---
--- The program leads a process group of its own. The group, and whatever else the program has begun, gets SIGTERM, later
--- SIGKILL, when the timeout is over; when the wait is interrupted (its task, a stop, Ctrl-C), which then goes on only after
--- all of it is gone; when this process is gone, by SIGKILL too; and when the term ends that it belongs to: in on_elected,
--- do_work, on_jeopardy and on_safe SIGTERM at the term's `stop_at`, SIGKILL a third of the grace later; in on_lost a half
--- and a quarter of the grace before `valid_until`. So it is gone before another may lead, also while this process is busy or
--- stopped (SIGSTOP). What on_lost runs after `valid_until` is bounded by stop_timeout alone. In a task that a handler has
--- spawned, say `term = term`.
---
--- When the program ends by itself, what it leaves behind gets SIGKILL, jobs of a shell with job control included. A daemon
--- that is to live on begins a session of its own (setsid), as pg_ctl and start-stop-daemon have it; nothing ends it then,
--- and its output is not waited for. Processes in uninterruptible sleep and work handed to another daemon (systemctl) are not
--- reached. A process "lunarch-exec" (in ps) watches over each command: if it is killed (SIGKILL), the program is killed
--- with it, and this process kills what the program has begun; if this process is killed or stopped as well, that lives on,
--- and so does a set-user-ID program.
---
--- To begin it costs this process one to five milliseconds for each 100 MB of memory that it holds.
---
--- The program inherits no descriptor but the three, no blocked and no ignored signal.
---
--- `nil, message, code, result`: "timeout" and "lost" (ended with its term, or not begun: the term is over), "invalid" (not
--- found, no program, no such folder), "permission_denied", "unavailable" (no descriptor, process or memory), "unknown" (the
--- process that watches over it was killed). `result` is there when it was begun.
---@param command lunarch.exec_options
---@return lunarch.exec_result? result
---@return string? message
---@return lunarch.code? code
---@return lunarch.exec_result? result what it wrote before it was ended
function lunarch.exec(command) end

--- A wait that the program itself ends: `set` from another task, or from a callback of another library (luv, cqueues, a
--- request of nginx), in the same Lua state.
---@class lunarch.future
local future = {}

---@return lunarch.future
function lunarch.future() end

--- What wait() returns from now on. Does not wait. False: it was set or has failed before; nothing changes then.
---@param ... any
---@return boolean
function future:set(...) end

--- From now on wait() returns nil, message, code. As set() otherwise.
---@param message string
---@param code? string Default: "cancelled"
---@return boolean
function future:fail(message, code) end

---@return boolean
function future:is_set() end

--- Waits until it is set, and returns what it was set to, each time; or nil, message, code. Raises where nothing is left
--- that could set it.
---@param timeout? number
---@return any ... nil, message, "timeout": it was not set in time
function future:wait(timeout) end

--- An event, set and cleared as often as wanted. wait() returns while it is set.
---@class lunarch.flag
local flag = {}

---@return lunarch.flag
function lunarch.event() end

--- Wakes all that wait, also if it is cleared right after. Does not wait; from callbacks too.
function flag:set() end

function flag:clear() end

---@return boolean
function flag:is_set() end

--- Waits until it is set.
---@param timeout? number
---@return true?
---@return string? message
---@return lunarch.code? code
function flag:wait(timeout) end

--- Waits until clients that were collected have given up what they held, at most so many seconds, and cuts off the
--- rest. The last call of a program; blocks.
---@param seconds? number
---@return true
function lunarch.shutdown(seconds) end

-- ---- tasks ------------------------------------------------------------------------------------------------------

--- Starts `fn(...)` as a task: a coroutine whose waits hold nobody up. It begins with the next turn of the loop,
--- which is turned by lunarch.run, by the host, by your own uv.run(), and by any wait outside of tasks. Needs luv.
---
--- In a task a coroutine of your own (a generator) may wait too: it turns the loop until its wait is over, and other
--- tasks go on meanwhile. Two tasks that wait in such coroutines at the same time end these waits in the reverse
--- order of their beginning. A bare coroutine.yield() in a task lets the others go on. Inside a callback of libuv's,
--- a wait blocks the loop: spawn a task there.
---
--- In a coroutine of cqueues' it is another one of the same controller, and can be joined only there; in nginx it is a
--- timer (nginx.d.lua). Neither needs luv. Under cqueues a wait raises where C has called Lua (the functions given to
--- table.sort and string.gsub, on LuaJIT metamethods), and blocks in a coroutine of your own.
---
--- A task that fails while nobody joins it is reported on stderr, and lunarch.run raises in the end; unless it ends by the error
--- it was interrupted with.
---@param fn fun(...): ...
---@param ... any
---@return lunarch.task
function lunarch.spawn(fn, ...) end

--- Runs `fn(...)` as the main task, and returns its results once it and all tasks have ended. If it fails, the other
--- tasks are interrupted with "the main task failed", waited for (5 s), and the error is raised: a string with its
--- traceback, anything else as it is. Raises too when a spawned task failed that nobody joined, and when every task
--- waits with nothing left that could wake one. Within a task it waits for what was spawned in it alone, while all else
--- goes on. Not under cqueues and not in nginx, whose loops run already. Needs luv.
---@param fn fun(...): ...
---@param ... any
---@return ...
function lunarch.run(fn, ...) end

---@class lunarch.task
local task = {}

--- Waits until the task has ended. `true` and what it returned; `false`, its error with a traceback (a string), and
--- the error itself if it failed; nil, message, "timeout".
---@param timeout? number
---@return boolean? ok
---@return any ...
function task:join(timeout) end

--- Ends the wait the task is in: it raises `err`, as it is, and so does every wait after it, and every bare
--- coroutine.yield(), until task:allow(). A task that catches it more than ten times, and a second later still goes on,
--- is raised out of at its next instruction, and so again until it has ended. A
--- wait whose answer is there already still returns it. What was asked is cancelled: a lock or place that was being
--- won is given up; only releases (unlock, resign, close) go on in the background. False if the task has ended.
---@param err any not nil
---@return boolean
function task:interrupt(err) end

--- Lets it wait again after an interruption.
function task:allow() end

--- Begins another task where this one lives, from anywhere: in a callback, or outside of a controller of cqueues.
---@param fn function
---@param ... any its arguments
---@return lunarch.task
function task:beside(fn, ...) end

--- The task counts as ended from now on, without a failure or results, and is not resumed: its code does not go on from
--- where it waits. What it waited for is cancelled. `<close>` variables in it are left to the collector.
function task:abandon() end

--- From now on `fn` is asked whenever a wait of the task begins or ends: an error other than nil, returned or raised, interrupts the
--- task with it, and gives back what the wait brought. It must not wait.
---@param fn fun(): any
function task:guard(fn) end

---@return boolean
function task:is_running() end

-- ---- client -----------------------------------------------------------------------------------------------------

---@class lunarch.client
---@field endpoints string[]
---@field prefix? string what it puts before every key
local client = {}

---@class lunarch.kv
---@field key string
---@field value string
---@field create_revision integer
---@field mod_revision integer
---@field version integer 1 after it was created, one more with each put
---@field lease string? the lease it is bound to

---@class lunarch.get_options
---@field prefix? boolean all keys that begin with `key` ("": all there are)
---@field range_end? string all keys from `key` up to, and without, this one
---@field limit? integer at most so many
---@field revision? integer as it was then
---@field sort_by? "key"|"version"|"create"|"mod"|"value"
---@field order? "ascend"|"descend"
---@field keys_only? boolean
---@field count_only? boolean
---@field serializable? boolean answered by one member from what it has, stale perhaps
---@field min_create_revision? integer
---@field max_create_revision? integer
---@field min_mod_revision? integer
---@field max_mod_revision? integer

---@class lunarch.range_info
---@field count integer how many keys there are, whatever the limit
---@field more boolean the limit left some out
---@field revision integer the revision of the store when read: watch from revision + 1 to miss nothing

--- Reads. Without `prefix` or `range_end`: the value and its pair, or a single nil when there is no such key. With: a
--- list of pairs, and what is known about all of them. Waits. Also "compacted".
---@param key string
---@param options? lunarch.get_options
---@param timeout? number
---@return string|lunarch.kv[]|nil value
---@return lunarch.kv|lunarch.range_info|string|nil kv
---@return lunarch.code? code
function client:get(key, options, timeout) end

---@class lunarch.put_options
---@field lease? string the key goes with this lease
---@field prev_kv? boolean return the pair that was there before

--- Writes: true, the revision of the write, and the pair before it when asked for. Never sent twice. Waits. Also
--- "unknown", and "lost" when the lease does not exist.
---@param key string
---@param value string
---@param options? lunarch.put_options
---@param timeout? number
---@return true? ok
---@return integer|string|nil revision
---@return lunarch.kv|lunarch.code|nil prev_kv
function client:put(key, value, options, timeout) end

---@class lunarch.delete_options
---@field prefix? boolean
---@field range_end? string
---@field prev_kv? boolean return the pairs that were deleted

--- Deletes: how many there were, and the deleted pairs (empty unless asked for). Never sent twice. Waits. Also
--- "unknown".
---@param key string
---@param options? lunarch.delete_options
---@param timeout? number
---@return integer? count
---@return lunarch.kv[]|string|nil prev_kvs
---@return lunarch.code? code
function client:delete(key, options, timeout) end

---@class lunarch.txn
---@field compare? table[] all must hold. { "create"|"mod"|"version", key, "="|"~="|"<"|">", number }, { "value", key, "=", string }, { "lease", key, "=", id or 0 }; with prefix = true or range_end = they must hold for each key of the range, and an empty one counts as 0
---@field success? table[] done when they hold: { "put", key, value, options }, { "get", key, options }, { "delete", key, options }; options as of the single calls, in a table or beside (prefix = true)
---@field failure? table[] done when they do not

---@class lunarch.txn_response
---@field kvs? lunarch.kv[] get: the pairs
---@field count? integer get: how many there are
---@field more? boolean get: the limit left some out
---@field prev_kv? lunarch.kv put: the pair before, when asked for
---@field deleted? integer delete: how many
---@field prev_kvs? lunarch.kv[] delete: the deleted pairs, when asked for

---@class lunarch.txn_result
---@field succeeded boolean the compares held
---@field revision integer
---@field responses lunarch.txn_response[] one for each operation of the branch taken

--- A transaction: compares, and what to do in each case, in one step. At most 128 operations. Never sent twice.
--- Waits. Also "unknown", "compacted"; "invalid" when a lease does not exist.
---
---     client:txn {
---       compare = { { "create", "/config", "=", 0 } },
---       success = { { "put", "/config", "new" } },
---       failure = { { "get", "/config" } },
---     }
---@param txn lunarch.txn
---@param timeout? number
---@return lunarch.txn_result? result
---@return string? message
---@return lunarch.code? code
function client:txn(txn, timeout) end

---@class lunarch.watch_options
---@field prefix? boolean
---@field range_end? string
---@field revision? integer from this revision on, inclusive. Default: from now on (see watch:ready)
---@field prev_kv? boolean events carry the pair that was there before
---@field deletes_only? boolean

--- Watches a key or a range. Does not wait; survives broken streams and members.
---@param key string
---@param options? lunarch.watch_options
---@return lunarch.watch? watch
---@return string? message
---@return lunarch.code? code
function client:watch(key, options) end

--- Grants a lease that nobody renews: { id =, ttl = } with the TTL in seconds that etcd granted (2 at least, by
--- default). Waits.
---@param options { ttl: integer, id?: string }
---@param timeout? number
---@return { id: string, ttl: integer }? lease
---@return string? message
---@return lunarch.code? code
function client:lease(options, timeout) end

--- Ends a lease; its keys go with it. True also when it is gone already. Waits.
---@param lease string
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function client:revoke(lease, timeout) end

--- The seconds a lease has left, and those it was granted. Waits. "lost": there is no such lease.
---@param lease string
---@param timeout? number
---@return integer? left
---@return integer|string granted
---@return lunarch.code? code
function client:ttl(lease, timeout) end

---@class lunarch.member
---@field endpoint string
---@field is_learnt boolean it was not given: it was learnt from the cluster's list of members
---@field error? string why it did not answer; then nothing is known but its trouble
---@field trouble? string what was last wrong with it, though it may answer again; nil: nothing, so far
---@field trouble_at? number and when: an instant of lunarch.now()
---@field round_trip? number seconds that this very question took
---@field id? string
---@field version? string
---@field is_leader? boolean it leads the cluster
---@field has_leader? boolean it knows of a leader
---@field alarms? string[] "NOSPACE", "CORRUPT": raised anywhere in the cluster
---@field db_size? integer bytes
---@field raft_index? integer
---@field raft_term? integer
---@field revision? integer

--- Asks every member how it is. Waits.
---@param timeout? number
---@return lunarch.member[]? members
---@return string? message
---@return lunarch.code? code
function client:status(timeout) end

--- The same, under another name: where every member is, its version, whether it leads, its alarms, how far away it is, and
--- what was last wrong with it. Waits.
---@param timeout? number
---@return lunarch.member[]? members
---@return string? message
---@return lunarch.code? code
function client:members(timeout) end

---@class lunarch.stats
---@field sessions integer that are not ended
---@field renewals { count: integer, last: number?, mean: number?, longest: number? } confirmed ones of all sessions; seconds from sending one until it was confirmed
---@field confirmations { count: integer, failed: integer } reads that confirm that a member was not left behind by its cluster
---@field least_slack? number the least that was left, in seconds, until a session's stop_at when a renewal was confirmed; below 0: it came after that
---@field losses table<lunarch.reason, integer> sessions lost, by reason; without those that did not occur
---@field retries integer attempts of calls after their first
---@field streams_replaced integer streams of watches and renewals that broke, or were left for their silence
---@field n_waiting integer locks and campaigns that wait
---@field waiting lunarch.wait[] these, the oldest first, at most 100. How many are before one: mutex:position, election:position

---@class lunarch.wait
---@field name string
---@field kind "lock"|"campaign"
---@field waited number seconds
---@field token? integer nil: not entered yet
---@field behind? string "locked by web-2 (pid 4711)", "blocked by ...", as it was last seen

--- What this client has done and met since it was made, in all its sessions. From memory, at once; of a closed client too.
--- nil, message, "closed" in a forked child.
---@return lunarch.stats? stats
---@return string? message
---@return lunarch.code? code
function client:stats() end

---@class lunarch.session_options
---@field ttl? integer seconds a place outlives us when we vanish. Default 10; etcd raises what is too short
---@field grace? number seconds between being told to stop and losing the place. Default: a sixth of the TTL
---@field lease? string adopt this lease instead of granting a new one; it is not revoked in the end. A client that etcd refuses cannot delete its keys: they stay while another client renews the lease

--- Opens a session. Waits. Also "lost": the adopted lease does not exist.
---@param options? lunarch.session_options
---@param timeout? number
---@return lunarch.session? session
---@return string? message
---@return lunarch.code? code
function client:session(options, timeout) end

--- Follows the leader of an election without taking part. Does not wait.
---@param name string
---@return lunarch.observer? observer
---@return string? message
---@return lunarch.code? code
function client:observe(name) end

--- Closes all its sessions (their leases are revoked, for at most the timeout), and answers every call still waiting
--- with "closed". True also when it is closed already. Waits.
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function client:close(timeout) end

-- Calls wait by themselves under luv and cqueues. For any other loop, give lunarch.connect a lunarch.loop, have the loop
-- watch pollfd(), and call dispatch() whenever it is readable:
--
--   local ready = {}
--   local loop = {}
--   function loop.suspend(wait)                         -- called in the coroutine that waits
--     wait.thread = coroutine.running()
--     repeat coroutine.yield() until wait.is_done
--   end
--   function loop.wake(wait)                            -- called by dispatch()
--     ready[#ready + 1] = wait.thread                   -- to be resumed by the loop, not here
--   end
--   local client = lunarch.connect { loop = loop }
--   your_loop.on_readable(client:pollfd(), function() client:dispatch() end)
--
-- pollfd, events and timeout are what cqueues.poll asks of an object, too.

---@class lunarch.loop
---@field suspend fun(wait: lunarch.wait) returns when wait.is_done. An error it raises ends the wait, and is raised by the call
---@field wake fun(wait: lunarch.wait) sees to it that suspend goes on, later
---@field is_here? fun(): boolean whether a call that is made now can be suspended; else it blocks. Default: in coroutines

---@class lunarch.wait
---@field is_done boolean
---@field thread? thread yours, like any field that you add

--- Readable when there is something to dispatch. Never read from it, never close it.
---@return integer fd
function client:pollfd() end

---@return "r"
function client:events() end

---@return nil
function client:timeout() end

--- Does what is due: tasks whose wait has ended go on with the next turn of the loop. The number of finished operations.
---@return integer
function client:dispatch() end

-- ---- watch ------------------------------------------------------------------------------------------------------

---@class lunarch.watch
local watch = {}

---@class lunarch.event
---@field type "put"|"delete"
---@field key string
---@field revision integer
---@field value? string put
---@field create_revision? integer put
---@field version? integer put
---@field lease? string put
---@field prev_kv? lunarch.kv what was there before, when asked for and still known

--- The next event. One caller at a time. Waits. Also "compacted": start again with a later revision.
---@param timeout? number
---@return lunarch.event? event
---@return string? message
---@return lunarch.code? code
function watch:next(timeout) end

--- Waits until etcd knows of the watch: whatever is written afterwards will be seen.
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function watch:ready(timeout) end

--- `for event in watch:events() do`: each step waits. Ends when the watch or its client is closed; raises on other
--- errors.
---@return fun(): lunarch.event?
function watch:events() end

---@return true
function watch:close() end

-- ---- mirror -----------------------------------------------------------------------------------------------------

---@class lunarch.mirror_options
---@field on_change? fun(key: string, value: string?, kv: lunarch.kv?) is called after each change, in a task: nil, the key is gone. An error in it is reported, and ends nothing
---@field max_keys? integer more keys end the mirror, with "invalid". Default: 100000

--- All keys below a prefix, kept in step with etcd by a task: read once, then watched; read again after a compaction, a broken
--- watch or an etcd begun anew, and what differs is told to on_change. While nothing changes it asks etcd for one key every
--- 10 s. The task needs what lunarch.spawn needs, goes on while others wait, and ends with close() or the client.
--- lunarch.run does not wait for it; a controller of cqueues does.
---@class lunarch.mirror
---@field prefix string
---@field values table<string, string> by key; not to be written to
---@field n_keys integer
---@field revision integer of etcd, up to which all is known
local mirror = {}

--- Waits for the first reading. Also "invalid": there are too many keys.
---@param prefix string
---@param options? lunarch.mirror_options
---@param timeout? number
---@return lunarch.mirror? mirror
---@return string? message
---@return lunarch.code? code
function client:mirror(prefix, options, timeout) end

--- From memory.
---@param key string
---@return string? value nil: there is no such key
---@return lunarch.kv? kv
function mirror:get(key) end

--- Waits until the key exists, and returns its value. Also "permission_denied" and "unauthenticated", while etcd refuses
--- the reading or the watch: the log says so once, and the mirror goes on trying.
---@param key string
---@param timeout? number
---@return string? value
---@return lunarch.kv|string|nil kv or the message
---@return lunarch.code? code
function mirror:wait(key, timeout) end

---@return true
function mirror:close() end

-- ---- session ----------------------------------------------------------------------------------------------------

--- A lease kept alive, and the knowledge of how long it certainly is. `stop_at`, `valid_until`: instants of
--- lunarch.now(); nil once lost.
---@class lunarch.session
---@field client lunarch.client
---@field lease string
---@field id string the same
---@field ttl integer granted, in seconds
---@field stop_at number? work is told to stop
---@field valid_until number? from here on every answer is "lost"
---@field away_limit number seconds for which etcd may be away without stop_at being reached, whenever that begins
local session = {}

---@alias lunarch.state "alive"|"jeopardy"|"lost"|"closed"

--- The state now; "jeopardy": no renewal was confirmed for half a TTL, still safe for session:remaining() seconds.
--- For a session that is over, the reason too; where etcd refused to renew it, what etcd said, with the user and a key.
--- Answers from memory and the clock.
---@return lunarch.state state
---@return lunarch.reason? reason
---@return string? refusal
function session:state() end

--- Seconds until stop_at; 0 when it has passed. From memory and the clock.
---@return number
function session:remaining() end

--- Waits until the state is other than `state`, and returns it.
---@param state lunarch.state
---@param timeout? number
---@return lunarch.state? state
---@return string? message
---@return lunarch.code? code
function session:await(state, timeout) end

--- A mutex of this name: "/" inside is fine, at its end it is not. One object is one owner: two objects of one name
--- exclude each other. With `reentrant`, locking again counts instead of raising.
---@param name string
---@param options? { reentrant?: boolean }
---@return lunarch.mutex? mutex
---@return string? message
---@return lunarch.code? code
function session:mutex(name, options) end

---@param name string
---@return lunarch.election? election
---@return string? message
---@return lunarch.code? code
function session:election(name) end

--- Gives up all its places and revokes the lease (an adopted one only with `revoke = true`). True also when it was
--- lost. Waits; an interrupted close goes on by itself. session:close(2) has a timeout and no options.
---@overload fun(self: lunarch.session, timeout: number): true?, string?, lunarch.code?
---@param options? { revoke?: boolean }
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function session:close(options, timeout) end

--- Stops renewing and leaves the lease to lapse: a client that knows its id may adopt it. The session is closed at once.
---@return true
function session:orphan() end

-- ---- mutex ------------------------------------------------------------------------------------------------------

---@class lunarch.mutex
---@field session lunarch.session
---@field name string
---@field token integer? the fencing token while locked: it rises with each owner
---@field key string? the key in etcd, while locked
---@field stop_at number? instant of lunarch.now(), while held
local mutex = {}

--- Locks: true and the token. Waits in line for at most `timeout` seconds; 0: one look, as try_lock. "timeout" names
--- the owner; also "lost". Raises when this object is locked already, or being locked.
---@param timeout? number
---@return true? ok
---@return integer|string|nil token
---@return lunarch.code? code
function mutex:lock(timeout) end

--- Locks if nobody is there, and writes nothing otherwise: nil, "locked by web-2 (pid 4711)", "locked". Waits for
--- etcd's answer only.
---@param timeout? number
---@return true? ok
---@return integer|string|nil token
---@return lunarch.code? code
function mutex:try_lock(timeout) end

--- Unlocks. "not_owner": it was not locked, or the key had gone; "lost": so had the session. The object is free to be
--- locked again in each case. Waits; what was not answered in time, or interrupted, goes on in the background.
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function mutex:unlock(timeout) end

--- Its present owner: { key =, value =, token =, revision = }, or false for nobody. Waits.
---@param timeout? number
---@return lunarch.leader|false|nil owner
---@return string? message
---@return lunarch.code? code
function mutex:owner(timeout) end

--- Whether it is ours, by the clock, now.
---@return boolean
function mutex:is_held() end

--- Its place in the line: 1 owns it. Asks etcd, which reads the whole line for that. Waits. "not_owner": this object is
--- neither locked nor waiting.
---@param timeout? number
---@return integer? position
---@return string? message
---@return lunarch.code? code
function mutex:position(timeout) end

--- While lock() waits: what it waits for, if that is no lock of this name. "blocked by the key /jobs/config, which is
--- bound to no lease: it stays until it is deleted", or the name of a lock that lies below this one. nil: nothing such
--- is known. From memory.
---@return string?
function mutex:blocked_by() end

--- Seconds until work under the lock has to stop; 0 when not held.
---@return number
function mutex:remaining() end

--- Waits until work under the lock has to stop, and returns why.
---@param timeout? number
---@return lunarch.reason? reason
---@return string? message
---@return lunarch.code? code
function mutex:await_loss(timeout) end

--- Locks, calls `fn(mutex)`, unlocks however it ends, and returns what it returned; its errors are raised as they
--- are. nil, message, code when the lock was not got within `timeout`. Waits.
---@param fn fun(mutex: lunarch.mutex): ...
---@param timeout? number
---@return any ...
function mutex:with(fn, timeout) end

-- ---- election ---------------------------------------------------------------------------------------------------

---@class lunarch.election
---@field session lunarch.session
---@field name string
local election = {}

---@class lunarch.leader
---@field value string? nil (observers only): there is none
---@field key string?
---@field token integer?
---@field revision integer? rises with each proclaim
---@field is_me boolean? it is the term this election object won

--- Stands with `value`, and returns when elected. Waits. Also "lost": the session or our key vanished while waiting.
--- Raises while an earlier campaign or term of this object lasts.
---@param value string
---@param timeout? number
---@return lunarch.term? term
---@return string? message
---@return lunarch.code? code
function election:campaign(value, timeout) end

--- The leader now; nil, "no leader", "no_leader". Waits.
---@param timeout? number
---@return lunarch.leader? leader
---@return string? message
---@return lunarch.code? code
function election:leader(timeout) end

--- The place of its candidate in the line: 1 leads. As mutex:position.
---@param timeout? number
---@return integer? position
---@return string? message
---@return lunarch.code? code
function election:position(timeout) end

--- While campaign() waits: what it waits for, if that is no candidate of this election; as mutex:blocked_by. From memory.
---@return string?
function election:blocked_by() end

--- Follows the leader: `for leader in election:observe() do`. Does not wait; each step does.
---@return lunarch.observer? observer
---@return string? message
---@return lunarch.code? code
function election:observe() end

--- Called (by `for`) it waits for the next leader: ends when closed, raises on other errors.
---@class lunarch.observer
---@overload fun(): lunarch.leader?
local observer = {}

--- The leader when it is other than last told, the first time whatever it is; a table without `value` for none. The
--- latest is told, not every one; where etcd has been silent for 15 seconds it is read anew first. One caller at a time.
--- Waits.
---@param timeout? number
---@return lunarch.leader? leader
---@return string? message
---@return lunarch.code? code
function observer:next(timeout) end

---@return true
function observer:close() end

-- ---- term -------------------------------------------------------------------------------------------------------

--- From being elected until resigned, lost or stopped.
---@class lunarch.term
---@field election lunarch.election
---@field value string what was proposed
---@field token integer the fencing token: it rises with each leader
---@field key string
---@field reason lunarch.reason? why it is over, or has to end; nil while it lasts
---@field stop_at number? instant of lunarch.now(); nil when over
---@field valid_until number? the same
local term = {}

--- Seconds until work has to stop; 0 when it is over, or has been told to stop. From memory and the clock.
---@return number
function term:remaining() end

--- True once at least `seconds` of the term are left before `valid_until`: for work that cannot be interrupted. Where the
--- clock says so already it returns at once and does not yield; else it asks for a renewal and waits until that is
--- confirmed. "lost": the term is over, or was told to stop; "unavailable": no renewal within `timeout`, or etcd renews
--- too slowly. Raises for more than the TTL less its margin, which is never certain.
---@param seconds number
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function term:ensure(seconds, timeout) end

--- Waits until the work has to stop - at stop_at, or at any loss - and returns why.
---@param timeout? number
---@return lunarch.reason? reason
---@return string? message
---@return lunarch.code? code
function term:await_loss(timeout) end

--- client:put, carried out only while we lead: etcd itself refuses it otherwise ("not_leader"). Keys inside the
--- election raise. Also "lost", "unknown". Waits.
---@param key string
---@param value string
---@param options? lunarch.put_options
---@param timeout? number
---@return true? ok
---@return integer|string|nil revision
---@return lunarch.kv|lunarch.code|nil prev_kv
function term:put(key, value, options, timeout) end

--- client:txn, carried out only while we lead; `succeeded` tells of your own compares. "not_leader", "lost",
--- "unknown". Waits.
---@param txn lunarch.txn
---@param timeout? number
---@return lunarch.txn_result? result
---@return string? message
---@return lunarch.code? code
function term:txn(txn, timeout) end

--- Changes the value others see: true and its revision. "not_leader", "lost". Waits.
---@param value string
---@param timeout? number
---@return true? ok
---@return integer|string|nil revision
---@return lunarch.code? code
function term:proclaim(value, timeout) end

--- Hands the line over to the candidate whose value is `who`, or to the next one: steps down once that candidate has
--- answered and nobody stands between. A candidate's term ends by it ("handed_over"), which interrupts this call; a term
--- of election:campaign is resigned: true. "refused": `who` does not stand, or does not answer, or another stands before
--- it and does not step aside, or a switchover or a pause is under way. Only candidates (lunarch.candidate, scripts)
--- answer and step aside. Waits.
---@param who? string
---@param timeout? number Default: 30
---@return true? ok
---@return string? message
---@return lunarch.code? code
function term:hand_over(who, timeout) end

--- Gives the place up. True also when it was lost. Waits; what was not answered in time, or interrupted, goes on in
--- the background.
---@param timeout? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function term:resign(timeout) end

return lunarch
