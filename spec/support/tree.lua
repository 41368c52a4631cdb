-- Where things are: the sources, the build tree, and a private folder for this spec file that the runner removes.
local uv = require "luv"

local tree = {}

tree.root = assert(os.getenv "LUNARCH_ROOT", "run specs by ./dev test")
tree.build = assert(os.getenv "LUNARCH_BUILD", "run specs by ./dev test")
tree.program = tree.build .. "/bin/lunarch"
tree.etcd = assert(os.getenv "ETCD", "run specs by ./dev test")
tree.etcdctl = assert(os.getenv "ETCDCTL", "run specs by ./dev test")
tree.is_sanitized = os.getenv "LUNARCH_SANITIZED" ~= nil

local MEMORY = "/dev/shm"
local MEMORY_FREE_BYTES = 256 * 1024 * 1024

-- An etcd preallocates 64 MB of log, and containers often have no more shared memory than that.
local function memory_has_room()
  local stat = uv.fs_statfs(MEMORY)
  return stat and stat.bavail * stat.bsize >= MEMORY_FREE_BYTES and uv.fs_access(MEMORY, "W")
end

local private

-- A fresh folder, in memory where there is room. Goes with the spec file.
---@return string path
function tree.folder()
  if not private then
    private = os.getenv "LUNARCH_TMP" or assert(uv.fs_mkdtemp "/tmp/lunarch-spec-XXXXXX")
  end
  local base = private
  if not memory_has_room() and base:sub(1, #MEMORY) == MEMORY then base = "/tmp" end
  return assert(uv.fs_mkdtemp(base .. "/lunarch-XXXXXX"))
end

---@param path string
function tree.remove(path)
  assert(path:match "/lunarch%-", "refusing to remove " .. path)
  os.execute("rm -rf '" .. path .. "'")
end

-- What restores snapshots: etcdctl, and from etcd 3.6 on a program of its own beside it.
---@return string
function tree.restorer()
  local path = tree.etcdctl:gsub("etcdctl$", "etcdutl")
  local file = path ~= tree.etcdctl and io.open(path)
  if not file then return tree.etcdctl end
  file:close()
  return path
end

---@return string text empty where there is no such file
function tree.read(path)
  local file = io.open(path, "r")
  if not file then return "" end
  -- Nothing can be read of a folder.
  local text = file:read "*a" or ""
  file:close()
  return text
end

function tree.write(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  file:close()
end

-- `words` as one command line for the shell.
---@param words string[]
function tree.quote(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = "'" .. tostring(word):gsub("'", "'\\''") .. "'"
  end
  return table.concat(quoted, " ")
end

-- The environment of a child: ours without what belongs to us alone, changed by `changes` (false removes a name).
---@param changes? table<string, string|false>
---@return string[]
function tree.environment(changes)
  local all = uv.os_environ()
  for name in pairs(all) do
    if name:match "^ETCD_" or name:match "^ETCDCTL_" or name == "LD_PRELOAD" or name == "LUNARCH_REPORT" then
      all[name] = nil
    end
  end
  for name, value in pairs(changes or {}) do
    all[name] = value or nil
  end
  local list = {}
  for name, value in pairs(all) do
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

return tree
