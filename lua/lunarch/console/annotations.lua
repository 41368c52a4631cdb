-- The annotations in lua/lunarch/library, read for `help`: every function, class, handler, setting and code, with the
-- words that stand there.
local args = require "lunarch.internal.args"
local uv = require "luv"

args.is_ours()

local annotations = {}

-- What stands in the first ones is found first; others of the folder follow.
local FIRST = { "console", "lunarch", "candidate", "script", "sim", "nginx" }

---@class lunarch.console.Entry
---@field name string "client:get", "lunarch.connect", "client", "on_elected", "lost"
---@field kind "function"|"class"|"global"|"code"|"field"
---@field signature? string
---@field comment string[]
---@field fields? { name: string, text: string }[]
---@field params? { name: string, text: string }[]
---@field returns? string[]
---@field class? string the class of a method, or of a class itself

local function folder()
  return (package.searchpath("lunarch", package.path):gsub("init%.lua$", "library/"))
end

-- The names of its files, without the ending.
local function files()
  local names, seen = {}, {}
  for i, name in ipairs(FIRST) do
    names[i], seen[name] = name, true
  end
  local found, more = uv.fs_scandir(folder()), {}
  for file in function() return found and uv.fs_scandir_next(found) end do
    local name = file:match "^(.*)%.d%.lua$"
    if name and not seen[name] then more[#more + 1] = name end
  end
  table.sort(more)
  return table.move(more, 1, #more, #names + 1, names)
end

-- "lunarch.client" is called a client.
local function short(class)
  return (class:gsub("^lunarch%.", ""))
end

local Reader = {}
Reader.__index = Reader

function Reader:add(entry)
  entry.comment = entry.comment or {}
  self.entries[#self.entries + 1] = entry
  return entry
end

function Reader:forget()
  self.comment, self.params, self.returns, self.class_entry, self.alias = {}, {}, {}, nil, nil
end

local tags = {}

function tags.class(self, rest)
  local name, parent = rest:match "^([%w_.]+):?%s*([%w_.]*)"
  self.class_entry = self:add {
    name = short(name), kind = "class", class = name, parent = parent, comment = self.comment, fields = {},
  }
  self.comment = {}
end

function tags.field(self, rest)
  local name, text = rest:match "^(%S+)%s+(.*)$"
  if self.class_entry and name then table.insert(self.class_entry.fields, { name = name, text = text }) end
end

function tags.param(self, rest)
  local name, text = rest:match "^(%S+)%s+(.*)$"
  self.params[#self.params + 1] = { name = name, text = text }
end

tags["return"] = function(self, rest)
  self.returns[#self.returns + 1] = rest
end

function tags.type(self, rest)
  self.type = rest
end

function tags.alias(self, rest)
  self.alias = rest:match "^%S+"
end

function Reader:take_comment(line)
  local code, text = line:match "^%-%-%-| '\"([%w_]+)\"'%s*#?%s*(.*)$"
  if code then
    self:add { name = code, kind = "code", class = self.alias, comment = { text } }
    return
  end
  local tag, rest = line:match "^%-%-%-@(%a+)%s*(.*)$"
  if tag then
    if tags[tag] then tags[tag](self, rest) end
    return
  end
  self.comment[#self.comment + 1] = line:match "^%-%-%- ?(.*)$"
end

function Reader:take_function(of, mark, name, params)
  local class = of ~= "" and self.names[of]
  local full = class and short(class) .. mark .. name or name
  self:add {
    name = full, kind = "function", class = class or nil, comment = self.comment, params = self.params,
    returns = self.returns, signature = ("%s(%s)"):format(full, params),
  }
end

function Reader:take_code(line)
  local of, mark, name, params = line:match "^function ([%w_]*)([.:]?)([%w_]+)%((.-)%)"
  local variable = line:match "^local ([%w_]+) = {}"
  local owner, field = line:match "^([%w_]+)%.([%w_]+) ="
  local global = line:match "^([%w_]+) ="
  if name then
    if mark == "" then of, name = "", of .. name end
    self:take_function(of, mark, name, params)
  elseif variable and self.class_entry then
    self.names[variable] = self.class_entry.class
  elseif owner and self.names[owner] then
    local full = short(self.names[owner]) .. "." .. field
    self:add { name = full, kind = "function", comment = self.comment, signature = full .. ": " .. (self.type or "") }
  elseif global then
    if self.class_entry then self.names[global] = self.class_entry.class end
    self:add { name = global, kind = "global", comment = self.comment, signature = global .. ": " .. (self.type or "") }
  end
end

function Reader:take(text)
  self:forget()
  self.names = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    if line:find "^%-%-%-" then
      self:take_comment(line)
    else
      if not line:find "^%-%-" and line:find "%S" then self:take_code(line) end
      self:forget()
    end
  end
end

local known

--- All entries, in the order of the files.
---@return lunarch.console.Entry[]
function annotations.all()
  if known then return known end
  local reader = setmetatable({ entries = {} }, Reader)
  for _, name in ipairs(files()) do
    local file = io.open(folder() .. name .. ".d.lua")
    if file then
      reader:take(file:read "a")
      file:close()
    end
  end
  known = reader.entries
  return known
end

-- "election?" may be left out, and is called "election".
local function plain_name(field) return (field.name:gsub("%?$", "")) end

--- The fields of a class, and those of its parents that it does not declare anew.
---@param entry lunarch.console.Entry
---@return { name: string, text: string }[]
function annotations.fields(entry)
  local fields, is_own = {}, {}
  for i, field in ipairs(entry.fields) do
    fields[i], is_own[plain_name(field)] = field, true
  end
  for _, parent in ipairs(annotations.all()) do
    if parent.kind == "class" and parent.class == entry.parent then
      for _, field in ipairs(annotations.fields(parent)) do
        if not is_own[plain_name(field)] then fields[#fields + 1] = field end
      end
    end
  end
  return fields
end

-- "term.token", or "token" of every class that has one.
local function fields_named(given)
  local found, name = {}, given:gsub("^lunarch%.", "")
  for _, entry in ipairs(annotations.all()) do
    for _, field in ipairs(entry.fields or {}) do
      local full = entry.name .. "." .. plain_name(field)
      local plain = full:gsub("^lunarch%.", "")
      if plain == name:gsub(":", ".") or plain_name(field) == name then
        local own = { name = full, kind = "field", signature = ("%s: %s"):format(full, field.text), comment = {} }
        if full == given then return { own } end
        found[#found + 1] = own
      end
    end
  end
  return found
end

--- The entries of this name, those called exactly so first; or else the methods of that name in any class; or else its
--- fields.
---@param name string
---@param is_exact? boolean only those called exactly so, where there are any
---@return lunarch.console.Entry[]
function annotations.find(name, is_exact)
  local exact, methods, n_own = {}, {}, 0
  local given = name
  name = name:gsub("^lunarch%.", "")
  for _, entry in ipairs(annotations.all()) do
    local plain = entry.name:gsub("^lunarch%.", "")
    if entry.name == given or entry.kind == "class" and entry.class == given then
      n_own = n_own + 1
      table.insert(exact, n_own, entry)
    elseif plain == name or plain:gsub(":", ".") == name:gsub(":", ".") then
      exact[#exact + 1] = entry
    elseif plain:match "[.:]([%w_]+)$" == name then
      methods[#methods + 1] = entry
    end
  end
  if is_exact and n_own > 0 then return table.move(exact, 1, n_own, 1, {}) end
  return exact[1] and exact or methods[1] and methods or fields_named(given)
end

return annotations
