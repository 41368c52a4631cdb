-- What a candidate reports to the program that runs it, beside its log: each change that a status page, metrics or a
-- watchdog may show. A program gives its own with candidate:_report_to(table), which has any of these functions:
--
--   state(state)              "connecting", "standing", "leading" ...
--   client(client)            what it stands through; nil: closed
--   elected(term)             the term begins
--   entered()                 on_elected is about to be called: on_lost will follow
--   ready()                   on_elected has returned
--   over(reason)              the work of the term has to end
--   left(reason)              the term is over, and the place given up or left to lapse
--   handler(name, began)      a handler is called (began: true), or has returned (false)
--   failed(name)              it raised an error
--   leader(leader)            the leader is told, or told again after it was not known; nil: it is not known any more
--   may_say(what)             false: the program has said it already. "goes on": work goes on after the end of its
--                             term; "lapsed": another may lead now
--
-- None of them may wait or raise.
require "lunarch.internal.args".is_ours()

local report = {}

local NAMES = { "state", "client", "elected", "entered", "ready", "over", "left", "handler", "failed", "leader",
  "may_say" }

local function nothing() end

--- `given`: a table with any of the functions above, or nil.
function report.new(given)
  local new = {}
  for _, name in ipairs(NAMES) do
    new[name] = given and given[name] or nothing
  end
  return new
end

return report
