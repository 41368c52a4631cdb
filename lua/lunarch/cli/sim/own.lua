-- Our own files in a simulated process have an environment of their own, as under the program
-- (src/host/own_modules.h): a script may call its globals what it likes. Loaded first; returns that environment.
local loadfile, searchpath = loadfile, package.searchpath
local PATHS = package.path:match "^[^;]*;[^;]*" -- ours are the first two

local own = {}
for name, value in pairs(_G) do
  own[name] = value
end
setmetatable(own, { __index = _G })

table.insert(package.searchers, 2, function(name)
  local path = (name == "lunarch" or name:find "^lunarch%.") and searchpath(name, PATHS)
  if not path then return nil end
  local chunk, trouble = loadfile(path, "t", own)
  if not chunk then error(trouble, 0) end
  return chunk, path
end)

return own
