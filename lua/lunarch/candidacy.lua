-- What everybody who stands in an election has to say, and must not say twice.
local args = require "lunarch.args"

args.is_ours()

local candidacy = {}

-- `options` as args.options has left them; `example`: what an election might be called.
function candidacy.check(call, options, example)
  if not options.election then
    args.misuse("%s: 'election' is missing: the name to stand for, \"%s\" for example", call, example)
  end
  if options.client and options.endpoints then args.misuse("%s: give either 'client' or 'endpoints'", call) end
end

return candidacy
