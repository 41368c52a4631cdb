-- Text of our own that quotes what came from outside (a leader's name, a key, an error of the user's) cannot command
-- the terminal that shows it. What C says is tamed there (base/text.h).

local BYTE, PAIR = "?", "??"

--- Puts a question mark in place of each byte of a control character (those of Unicode below U+00A0 among them), but
--- for newlines and tabs: a traceback has those.
---@param text string
---@return string
return function(text)
  if not text:find "[%z\1-\8\11-\31\127\194]" then return text end
  return (text:gsub("[%z\1-\8\11-\31\127]", BYTE):gsub("\194[\128-\159]", PAIR))
end
