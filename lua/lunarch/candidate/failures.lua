-- Failures of a whole line. Where every candidate fails, each of them pausing for itself, the line would go through one
-- token per candidate and pause. So they count together, in a key beside the line: how many failures there were in a
-- row, and of which candidates; each then pauses as long as all of them would one after the other.
--
-- A healthy candidate waits for none of this: it is in the line, and next. The key is written once per failure, bound
-- to the session of the candidate that failed last; where etcd does not answer, a candidate counts for itself.
local args = require "lunarch.internal.args"
local beside = require "lunarch.internal.beside"

args.is_ours()

local failures = {}

local KIND = "failures"
local ASK_S, MOST_TRIES = 1, 3
local MOST_NAMES = 16        -- more are not told apart
local MOST_WAIT_S = 60       -- the longest pause and so long without a failure end a row: by clocks that differ

local function names_in(text)
  local names, n = {}, 0
  for name in (text or ""):gmatch "[^\n]+" do
    if n < MOST_NAMES and not names[name] then
      names[name], n = true, n + 1
    end
  end
  return names, n
end

-- The row with one more failure of `name`.
local function add(fields, name, longest_s)
  local at, now = beside.number(fields.at), os.time()
  local is_row = at and math.abs(now - at) < longest_s + MOST_WAIT_S
  local names, n_names = names_in(is_row and fields.of)
  local plain = name:gsub("\n", " ")
  if not names[plain] and n_names < MOST_NAMES then
    names[plain], n_names = true, n_names + 1
  end
  local of = table.concat(args.sorted_names(names), "\n")
  return { n = (is_row and beside.number(fields.n) or 0) + 1, at = now, of = of }, n_names
end

local function count(candidate, session, is_first)
  local longest_s = candidate.stand_backoff:longest()
  local key = beside.key(KIND, candidate.election_name)
  for _ = 1, MOST_TRIES do
    local value, kv, code = candidate.client:get(key, nil, ASK_S)
    if code then return nil end
    local row, n_names = add(beside.decode(not is_first and value or nil), candidate.name, longest_s)
    local answer = candidate.client:txn({
      compare = { { "mod", key, "=", kv and kv.mod_revision or 0 } },
      success = { { "put", key, beside.encode(row), lease = session.lease } },
    }, ASK_S)
    if not answer then return nil end
    if answer.succeeded then return row.n, n_names end
  end
  return nil
end

--- The seconds until a candidate that failed stands again; `is_first`: a good term has ended every row before. Waits
--- for etcd, some seconds at most; for the driver, after the place was given up.
function failures.pause(candidate, session, is_first)
  local pauses = candidate.stand_backoff
  if candidate.stopping then return pauses:next() end
  local n, n_names = count(candidate, session, is_first)
  if n then
    candidate.log.debug("%d failures in a row in %s, of %d candidates", n, candidate.election_name, n_names)
  else
    candidate.log.debug("the failures of others in %s are not known", candidate.election_name)
  end
  return pauses:shared(n, n_names)
end

return failures
