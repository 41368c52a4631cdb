-- The law of the floors, checked: an include, and a require, points only to a lower floor or to its own folder; and
-- what users read requires only what is made for them.
--   lua5.4 spec/tools/floors.lua ROOT     prints what breaks the law; status 1 if anything does
local floors = {}

-- src itself holds lunarch.h alone, a vocabulary: see RESERVED for who includes it.
local FLOOR = {
  ["base"] = 0, ["rpc"] = 1, ["rpc/grpc"] = 1, ["sim"] = 1, ["etcd"] = 2, ["recipe"] = 3, [""] = 1, ["client"] = 4,
  ["module"] = 5, ["host"] = 6, ["lab"] = 6,
}

-- Headers that not everybody above may include: who may, and the reason given to the others.
local RESERVED = {
  {
    pattern = "^grpc/",
    may = function(folder) return folder == "rpc" or folder == "rpc/grpc" end,
    reason = "only src/rpc includes gRPC",
  },
  {
    pattern = "^rpc/grpc[./]",
    may = function(folder) return folder == "rpc" or folder == "rpc/grpc" or FLOOR[folder] >= FLOOR.client end,
    reason = "below src/client no file knows which implementation of the seam there is",
  },
  {
    pattern = "^lunarch%.h$",
    may = function(folder) return FLOOR[folder] >= FLOOR.client end,
    reason = "lunarch.h is for src/client and above",
  },
  {
    pattern = "^protobuf%-c/",
    may = function(folder) return FLOOR[folder] == 1 or FLOOR[folder] == 2 end,
    reason = "protobuf-c stays on the floors of rpc and etcd",
  },
  {
    pattern = "%.pb%-c%.h$",
    may = function(folder) return FLOOR[folder] == 1 or FLOOR[folder] == 2 end,
    reason = "etcd's messages stay on the floors of rpc and etcd",
  },
}
for _, header in ipairs { "^lua%.h$", "^lauxlib%.h$", "^lualib%.h$", "^luaconf%.h$", "^luv/" } do
  RESERVED[#RESERVED + 1] = {
    pattern = header,
    may = function(folder) return folder == "module" or folder == "host" or folder == "lab" end,
    reason = "only src/module, src/host and src/lab include Lua",
  }
end

local function folder_of(path)
  return path:match "^(.*)/[^/]*$" or ""
end

-- Both implementations of the seam stand on its floor, beside it, and include it.
local function implements_the_seam(folder, target)
  return (folder == "sim" or folder == "rpc/grpc") and folder_of(target) == "rpc"
end

-- The trouble with one include, or nil. `path` and `target` are below src/; `exists` tells which headers there are.
function floors.trouble_with(path, target, exists)
  local folder = folder_of(path)
  if not FLOOR[folder] then return "src/" .. folder .. " is on no floor" end
  local beside = (folder == "" and "" or folder .. "/") .. target
  local resolved = exists(beside) and beside or target
  for _, reserved in ipairs(RESERVED) do
    if resolved:match(reserved.pattern) and not reserved.may(folder) then return reserved.reason end
  end
  if not exists(resolved) then return nil end
  local below = FLOOR[folder_of(resolved)]
  if not below then return "src/" .. folder_of(resolved) .. " is on no floor" end
  if folder_of(resolved) == folder or below < FLOOR[folder] or implements_the_seam(folder, resolved) then return nil end
  return ("floor %d may not look at floor %d"):format(FLOOR[folder], below)
end

-- ---- Lua ----------------------------------------------------------------------------------------------------------

-- By folder, or by file: lunarch/init.lua hands out what the others hold. The folders of the program stand above all.
local LUA_FLOOR = {
  ["lunarch/internal"] = 0, ["lunarch/loop"] = 1, ["lunarch/loop/nginx"] = 1, ["lunarch"] = 2,
  ["lunarch/candidate"] = 3, ["lunarch/singleton"] = 4, ["lunarch/init.lua"] = 5, ["resty"] = 6,
}
local PROGRAM_FLOOR = 7

-- What users require: all else is private.
local PUBLIC = { ["lunarch"] = true, ["resty.lunarch"] = true }

-- Made by C: the module itself, the program, the simulator.
local IN_C = { ["lunarch.core"] = true, ["lunarch.host"] = true, ["lunarch.http"] = true }
local function is_in_c(module)
  return IN_C[module] or module == "lunarch.sim" or module:match "^lunarch%.sim%." or module == "lunarch.lab.inside"
end

-- The loop picks the world it runs in, and nginx is one: they are one floor.
local function lua_floor_of(path)
  return LUA_FLOOR[path] or LUA_FLOOR[folder_of(path)] or PROGRAM_FLOOR
end

local function is_beside(path, target)
  local folder, other = folder_of(path), folder_of(target)
  return folder == other or lua_floor_of(path) == PROGRAM_FLOOR or folder:match "/loop" and other:match "/loop"
end

-- The trouble with one require, or nil. `path`: below lua/, or nil for what users read; `file_of(module)`: below lua/.
function floors.trouble_with_require(path, module, file_of)
  if not path and not PUBLIC[module] then return "users require lunarch and resty.lunarch alone" end
  if is_in_c(module) then return nil end
  local target = file_of(module)
  if not target then return "there is no such module" end
  -- Those above use the library as its users do.
  if not path or PUBLIC[module] or is_beside(path, target) then return nil end
  local own, other = lua_floor_of(path), lua_floor_of(target)
  if other < own then return nil end
  return ("floor %d may not look at floor %d"):format(own, other)
end

-- ---- the tree -----------------------------------------------------------------------------------------------------

local function files_below(root, folder, pattern)
  local command = ("cd '%s/%s' 2>/dev/null && find . -name '%s' -type f | sort"):format(root, folder, pattern)
  local pipe = assert(io.popen(command))
  local files = {}
  for line in pipe:lines() do
    files[#files + 1] = line:sub(3)
  end
  pipe:close()
  return files
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do
    set[item] = true
  end
  return set
end

-- Calls back with each module of ours that a line of the file requires.
local function each_require(path, callback)
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    for module in line:gmatch "require%s*%(?%s*[\"']([%w_.]+)[\"']" do
      -- What ends in a dot is half of a name.
      local is_ours = module:match "^lunarch%f[^%w_]" or module:match "^resty%.lunarch%f[^%w_]"
      if is_ours and not module:match "%.$" then callback(number, module) end
    end
  end
end

local function check_requires(root, found)
  local is_file = set_of(files_below(root, "lua", "*.lua"))
  local function file_of(module)
    local path = module:gsub("%.", "/")
    for _, name in ipairs { path .. ".lua", path .. "/init.lua" } do
      if is_file[name] then return name end
    end
  end
  local function check(file, path)
    each_require(root .. "/" .. file, function(number, module)
      local trouble = floors.trouble_with_require(path, module, file_of)
      if trouble then found[#found + 1] = ("%s:%d: requires %s: %s"):format(file, number, module, trouble) end
    end)
  end
  for path in pairs(is_file) do
    local is_library = path:match "^lunarch/library/"
    check("lua/" .. path, not is_library and path or nil)
  end
  for _, path in ipairs(files_below(root, "examples", "*")) do
    check("examples/" .. path, nil)
  end
  if io.open(root .. "/README.md") then check("README.md", nil) end
end

-- Every break of the law in the tree below `root`, as "file:line: ..." texts; and how many files of C there are.
function floors.check(root)
  local found = {}
  local files = files_below(root, "src", "*.[ch]")
  local is_file = set_of(files)
  local function exists(path) return is_file[path] end
  for _, path in ipairs(files) do
    local number = 0
    for line in io.lines(root .. "/src/" .. path) do
      number = number + 1
      local target = line:match '^%s*#%s*include%s*[<"]([^>"]+)[>"]'
      local trouble = target and floors.trouble_with(path, target, exists)
      if trouble then
        found[#found + 1] = ("src/%s:%d: includes %s: %s"):format(path, number, target, trouble)
      end
    end
  end
  check_requires(root, found)
  return found, #files
end

if arg and arg[0] and arg[0]:match "floors%.lua$" then
  local found = floors.check(arg[1] or ".")
  for _, text in ipairs(found) do
    io.stderr:write(text, "\n")
  end
  os.exit(#found == 0 and 0 or 1)
end

return floors
