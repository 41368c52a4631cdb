-- Five mistakes that a checker of annotations must find: ./dev check sees to it that it does. Never run.
local lunarch = require "lunarch"

election = 5                                          -- mistake: no string

function on_elected(term)
  log.info("elected, token %d", term.tokn)            -- mistake: no such field
end

function do_work(term)
  term:put("/written")                                -- mistake: an argument is missing
  return "soon"                                       -- mistake: no number and not false
end

function on_lost(_, reason)
  log.warn("lost: %s", reason)
end

local client = assert(lunarch.connect { endpoints = "127.0.0.1:2379" })
client:gett "/key"                                    -- mistake: no such method
