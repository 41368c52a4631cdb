-- Checks that candidate and singleton share: of options that are missing, or exclude each other.
local args = require "lunarch.internal.args"
local connection = require "lunarch.internal.connection"

args.is_ours()

local candidacy = {}

-- `options` as args.options has left them; `example`: what an election might be called.
function candidacy.check(call, options, example)
  if not options.election then
    args.misuse("%s: 'election' is missing: the name to stand for, \"%s\" for example", call, example)
  end
  if not options.client then return end
  if options.endpoints then args.misuse("%s: give either 'client' or 'endpoints'", call) end
  for name in pairs(connection.OPTIONS) do
    if options[name] ~= nil then args.misuse("%s: give either 'client' or '%s'", call, name) end
  end
end

return candidacy
