-- The law of the floors, checked: an include points only to a lower floor or to its own folder.
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

local function files_below(root)
  local pipe = assert(io.popen(("cd '%s/src' 2>/dev/null && find . -name '*.[ch]' | sort"):format(root)))
  local files = {}
  for line in pipe:lines() do
    files[#files + 1] = line:sub(3)
  end
  pipe:close()
  return files
end

-- Every break of the law in the tree below `root`, as "src/file:line: ..." texts.
function floors.check(root)
  local found, is_file = {}, {}
  local files = files_below(root)
  for _, path in ipairs(files) do
    is_file[path] = true
  end
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
