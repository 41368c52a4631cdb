-- Mistakes of an experiment that a checker of annotations must find: ./dev check sees to it that it does. Never run.
local a = candidate("/services/billing", "A", { ttl = "3" })      -- mistake: no integer
run "1"                                                           -- mistake: no number

slow(a)                                                           -- mistake: an argument is missing
expect(function() return a.lead end, "A leads")                   -- mistake: no such field
