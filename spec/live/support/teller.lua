-- How a candidate of the proofs tells on stdout what is done to it and when; journal.lua reads it.
--
--   <event> <seconds of CLOCK_BOOTTIME> <election> <lease>[-<suffix>] <token> [<more>]
--
-- elected; work and worked, around each call of do_work; failed, what a wait of do_work raised; put, what became of a
-- guarded write sent then; losing and lost, around on_lost.
local lunarch = require "lunarch"

local teller = {}

---@param term lunarch.term
function teller.say(event, election, term, more)
  local place = term.key:match "[^/]+$"
  io.stdout:write(("%s %.6f %s %s %d %s\n"):format(event, lunarch.now(), election, place, term.token, more or ""))
end

return teller
