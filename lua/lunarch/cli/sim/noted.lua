-- What the processes of a history have noted, in the checker's state: facts (sim.note), and the disks of their hosts.
-- Each disk is a note too, a table by path: what is in a file, or false: it was removed.
--
-- What is appended to a file is kept in parts, and joined when the file is looked at: a log costs no more than what is
-- written to it.
require "lunarch.internal.args".is_ours()

local noted = {}

--- `notes`: the table that check(world) sees as world.notes.
function noted.new(notes)
  local self = {}
  local parts = {} -- of files that are not joined: by disk, by path

  local function disk_of(name)
    if type(notes[name]) ~= "table" then notes[name] = {} end
    return notes[name]
  end

  local function file_of(name, path)
    local disk = notes[name]
    if type(disk) == "table" then return disk[path] end
    return nil
  end

  local function join(name, path)
    local files = parts[name]
    if not files or not files[path] then return end
    disk_of(name)[path], files[path] = table.concat(files[path]), nil
  end

  --- Whatever is noted stands in `notes` afterwards.
  function self.join_all()
    for name, files in pairs(parts) do
      for path in pairs(files) do
        join(name, path)
      end
    end
  end

  function self.note(name, value)
    notes[name], parts[name] = value, nil
  end

  --- False: the note is no number.
  function self.add(name, number)
    local before = notes[name]
    if before ~= nil and type(before) ~= "number" then return false end
    notes[name] = (before or 0) + number
    return true
  end

  function self.noted(name)
    for path in pairs(parts[name] or {}) do
      join(name, path)
    end
    return notes[name]
  end

  --- What is in a file; false: it was removed; nil: it was never written.
  function self.read_file(name, path)
    join(name, path)
    return file_of(name, path)
  end

  --- The same without what is in it: true for a file that is there.
  function self.has_file(name, path)
    local text = file_of(name, path)
    return text and true or text
  end

  --- `text` false: it is removed.
  function self.write_file(name, path, text)
    if parts[name] then parts[name][path] = nil end
    disk_of(name)[path] = text
  end

  function self.append_to_file(name, path, text)
    local disk, files = disk_of(name), parts[name] or {}
    parts[name], disk[path] = files, disk[path] or ""
    local own = files[path] or { disk[path] }
    files[path], own[#own + 1] = own, text
  end

  return self
end

return noted
