---@meta _
-- luacheck: ignore 111 112 121 131 212 241 431 631
-- The verbs of the console, for its `help` and for editors: an experiment of `lunarch lab` calls the same ones.
--
-- A verb that cannot do what it is asked returns nil, message, code, as every call of Lunarch; one that is misused, or that
-- a world does not have, raises. Times are seconds.

---@class lunarch.look.line
---@field name string
---@field kind "election"|"lock" what the value of the first place tells
---@field holder lunarch.look.place? the first place
---@field waiting integer how many places are behind it
---@field wrong string? what is wrong with it: a key without a lease, a name inside of this one

---@class lunarch.look.place
---@field place integer 1 for the one that leads, or holds
---@field who string the value of an election; "name on host (pid 4711)" of a lock
---@field token integer the fencing token: the key's create revision
---@field since string? when it came, if the line was followed then
---@field left integer? seconds until the lease expires, unless it is renewed
---@field ttl integer? seconds that the lease was granted
---@field key string
---@field lease string?
---@field host string? of a lock made by Lunarch
---@field pid integer? the same
---@field wrong string? what is wrong with it

--- What is ready at the prompt beside the module: the client of this world.
---@type lunarch.client
client = nil

--- A living session: opened when it is first used, and again when it was lost.
---@type lunarch.session
session = nil

-- ---- looking ----------------------------------------------------------------------------------------------------

--- The elections in etcd whose names begin with `prefix`: who leads each, and how many wait. Reads the keys of the store, in
--- pages. Waits.
---@param prefix? string
---@return lunarch.look.line[]? lines
---@return string? message
---@return lunarch.code? code
function elections(prefix) end

--- The locks in etcd whose names begin with `prefix`: who holds each, and how many wait. As elections().
---@param prefix? string
---@return lunarch.look.line[]? lines
---@return string? message
---@return lunarch.code? code
function locks(prefix) end

--- Every place in one line, in order: who, the token, the time its lease has left, the key; those of etcdctl and of other
--- clients, too. A key that does not belong there is named for what it is. Waits.
---@param name string
---@return lunarch.look.place[]? places
---@return string? message
---@return lunarch.code? code
function line(name) end

--- The members of etcd: role, version, size, alarms. Waits.
---@return lunarch.member[]? members
---@return string? message
---@return lunarch.code? code
function members() end

--- Prints what happens in the line of `name`, from now on: who comes, who leaves, who leads or holds. Does not wait.
---@param name string
function follow(name) end

--- Ends follow(name); without a name, all of them.
---@param name? string
function unfollow(name) end

--- Who held `name` when, and how each term ended, from etcd's history as far as it is not compacted. Waits.
---@param name string
function history(name) end

-- ---- standing ---------------------------------------------------------------------------------------------------

--- Makes a candidate that stands in the election `name` as `who`, until leave(). Its handlers are those given; else those
--- of `script`, a file; else the globals of their names. In a lab it is a process of its own. Does not wait.
---@param name string Default: the global `election`
---@param who? string Default: the global `name`, or the host and pid
---@param options? lunarch.console.candidate_options those of lunarch.candidate, and `script`, the path of a file
---@return lunarch.console.candidate
function candidate(name, who, options) end

--- The options of candidate(): those of lunarch.candidate, and `script`.
---@class lunarch.console.candidate_options: lunarch.candidate_options
---@field election? string Default: the name that is given first
---@field script? string the path of a file that defines the handlers

--- What candidate() returns. It prints as a sentence.
---@class lunarch.console.candidate
---@field name string
---@field election string
---@field term lunarch.term? its latest term, whether it lasts or not
---@field is_up boolean its process runs; where it is part of the console: it was not stopped
---@field is_paused boolean
---@field leads boolean it was elected and has not lost its term, by its own clock
---@field token integer? of its latest term, as all that follows
---@field elected_at number? seconds of the world; on a real etcd since 1970
---@field lost_at number? when its on_lost began
---@field reason lunarch.lost_reason? what on_lost was given
---@field expiry number? the earliest instant at which etcd may elect another
---@field terms table[] { token, elected, lost, reason, stop_at, valid_until, expiry }, in order
---@field place integer? in a lab: its place in the line when it stood again
---@field lease string?

--- Locks `name` if nobody holds it: the lock, which leave() gives up. "locked": another has it. Waits for etcd's answer
--- only.
---@param name string
---@return lunarch.mutex? lock
---@return string? message
---@return lunarch.code? code
function try(name) end

--- Waits at most `seconds` for the lock `name`: the lock, which leave() gives up. Ctrl-C ends the wait, and leaves no place in
--- the line.
---@param name string
---@param seconds? number Default: no limit
---@return lunarch.mutex? lock
---@return string? message
---@return lunarch.code? code
function lock(name, seconds) end

--- Gives up a lock or stops a candidate: the object, its name, or the name of its line; without one, all of them. Waits.
---@param x? lunarch.mutex|lunarch.console.candidate|string
function leave(x) end

--- Ends the term of a candidate that leads: the next one in the line is elected, and this one waits behind the others. Without
--- one, of all candidates here. Waits.
---@param x? lunarch.console.candidate|string
function resign(x) end

-- ---- asking -----------------------------------------------------------------------------------------------------

--- Asks the leader of an election to step down in order, so that the candidate `who` leads, or the next one: the new
--- leader; or nil, why not, "refused" or another code, and nothing was changed. On a cluster of others asks first. Waits.
---@param name string
---@param who? string
---@return lunarch.leader? leader
---@return string? message
---@return lunarch.code? code
function switchover(name, who) end

--- Lets no candidate take over for some seconds (default: 3600); a leader goes on. On a cluster of others asks first. Waits.
---@param name string
---@param seconds? number
---@return true? ok
---@return string? message
---@return lunarch.code? code
function pause_line(name, seconds) end

--- Ends a pause: true; false: there was none. Waits.
---@param name string
---@return boolean? was_paused
---@return string? message
---@return lunarch.code? code
function resume_line(name) end

-- ---- breaking ---------------------------------------------------------------------------------------------------

--- Stops the process of a candidate as SIGSTOP does; after `seconds` it goes on.
---@param x lunarch.console.candidate|string
---@param seconds? number Default: until heal()
function pause(x, seconds) end

--- Lets a candidate that is paused go on, as SIGCONT does, before its time is over.
---@param x lunarch.console.candidate|string
---@return nil
---@return string? message
---@return lunarch.code? code
function resume(x) end

--- Kills the process of a candidate: no handler runs, and its place lapses with its lease.
---@param x lunarch.console.candidate|string
function kill(x) end

--- Stops a candidate in order, as SIGTERM does: on_lost runs, then its place is given up.
---@param x lunarch.console.candidate|string
function stop(x) end

--- Cuts a candidate off from etcd, or from one member of it: what is sent is lost, and no connection ends.
---@param x lunarch.console.candidate|string
---@param member? integer|string
function cut(x, member) end

--- Delays what a candidate sends to etcd and receives by `seconds`.
---@param x lunarch.console.candidate|string
---@param seconds number
function slow(x, seconds) end

--- Ends every cut, delay, pause and freeze.
function heal() end

--- Stops a member of etcd as SIGSTOP does; after `seconds` it goes on.
---@param member integer|string
---@param seconds? number Default: until heal()
function freeze(member, seconds) end

--- Kills a member of etcd.
---@param member integer|string
function crash(member) end

--- Starts a member of etcd, or the process of a candidate, again.
---@param x integer|string|lunarch.console.candidate
function start(x) end

--- Revokes the lease of a place: a candidate's, a row of line(), a key, or the lease itself. All its keys go with it. On a real
--- cluster it asks first. Waits.
---@param x lunarch.console.candidate|lunarch.look.place|string
---@return true? ok
---@return string? message
---@return lunarch.code? code
function revoke(x) end

--- Fills etcd's database, so that it refuses to write (alarm NOSPACE) until heal().
function fill() end

--- Lets the clock of a candidate run at another rate: 1.05 is 5 % too fast.
---@param x lunarch.console.candidate|string
---@param rate number
function skew(x, rate) end

-- ---- time -------------------------------------------------------------------------------------------------------

--- Lets `seconds` of the world's time pass: in the simulated world as fast as they are computed, in a lab as they are. Ctrl-C
--- ends it early.
---@param seconds number at most a day
function run(seconds) end

--- Goes to the next event that is printed. Where nothing is to happen: "timeout", `limit` seconds later.
---@param limit? number seconds, at most a day. Default: 60
---@return nil
---@return string? message
---@return lunarch.code? code
function step(limit) end

--- Goes back before the last `n` calls: the world begins again, and the calls before them are played once more. Locks
--- and sessions that were open are closed.
---@param n? integer Default: 1
function back(n) end

--- Begins the world again, with another seed, and plays what was done until now once more. Locks and sessions of the
--- world before are closed.
---@param n integer
function seed(n) end

--- Lets time pass until fn() is true. "timeout": it has not become true.
---@param fn fun(): any
---@param limit? number seconds, at most a day. Default: 60
---@return true? ok
---@return string? message
---@return lunarch.code? code
function until_(fn, limit) end

-- ---- experiments ------------------------------------------------------------------------------------------------

--- In an experiment (`lunarch lab`): something that has to be so now. One that is not is reported at the end, with the
--- timeline, and the exit status is 1. A function that raises has failed, too.
---@param condition any a value, or a function that returns it
---@param text? string what is expected, as a sentence
---@return true? ok
---@return string? message
function expect(condition, text) end

--- In a lab and in the simulated world: the member that leads etcd, or nil. Waits in a lab.
---@return string? member "m1", "m2" or "m3"
function etcd_leader() end

--- In a lab and in the simulated world: seconds since it began.
---@return number
function now() end

-- ---- keeping ----------------------------------------------------------------------------------------------------

--- Who led when, with the faults and the instants stop_at, valid_until and expiry: as text, or as a picture in a file.
---@param path? string "f.svg"
function timeline(path) end

--- Writes what was done as an experiment, which `lunarch lab` plays. Handlers are written as they were typed, or as
--- they stand in the script; one that uses local variables from outside of it is left to be written.
---@param path string
function save(path) end

--- Writes what was typed and did not fail as a script, which `lunarch run` runs without the console.
---@param path string
function record(path) end

--- Prints a value as the prompt does.
---@param ... any
function show(...) end

--- Explains a function, a class, a handler, a setting or an error code: the value itself, or its name. Without one, a
--- screen of what there is.
---@param x any
function help(x) end
