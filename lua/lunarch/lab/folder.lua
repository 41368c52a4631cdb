-- The folder of a lab, for the data of its members: in memory where there is room. The lab holds a lock on it as long
-- as it lives, however it ends; what no living lab holds is removed by the next one.
local host = require "lunarch.host"
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local folders = {}

local NAME = "lunarch-lab-"

local function parents() return { "/dev/shm", os.getenv "TMPDIR" or "/tmp" } end

local function entries_of(folder)
  local names = {}
  local found = uv.fs_scandir(folder)
  while found do
    local name, kind = uv.fs_scandir_next(found)
    if not name then break end
    names[#names + 1] = { path = folder .. "/" .. name, name = name, kind = kind }
  end
  return names
end

--- Removes a folder and all that is in it.
---@param folder string
function folders.remove(folder)
  for _, entry in ipairs(entries_of(folder)) do
    if entry.kind == "directory" then folders.remove(entry.path) else uv.fs_unlink(entry.path) end
  end
  uv.fs_rmdir(folder)
end

-- Those of labs that were killed.
local function sweep(parent)
  for _, entry in ipairs(entries_of(parent)) do
    local is_ours = entry.kind == "directory" and entry.name:sub(1, #NAME) == NAME
    local lock = is_ours and host.lock(entry.path)
    if lock then
      folders.remove(entry.path)
      uv.fs_close(lock)
    end
  end
end

--- A new one: nil, there is no room for it. What no living lab holds is removed before.
---@return string?
function folders.new()
  for _, parent in ipairs(parents()) do
    sweep(parent)
    local folder = uv.fs_mkdtemp(parent .. "/" .. NAME .. "XXXXXX")
    -- The lock is kept for life. Another lab may have swept it away before it was held.
    if folder and host.lock(folder) then return folder end
  end
  return nil
end

return folders
