-- What the annotations (lua/lunarch/library) declare: classes with their fields and methods, the functions of a module,
-- and the globals of a script.
local annotations = {}

local FILES = { "lunarch", "candidate", "nginx", "sim", "script" }

local function read(path)
  local file = io.open(path, "r")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function class_of(found, name)
  found[name] = found[name] or { fields = {}, methods = {}, parents = {} }
  return found[name]
end

-- Takes in one file. `local x = {}` after a class names it for the functions that follow.
local function take(found, globals, text)
  local class, names, params = nil, {}, {}
  for line in text:gmatch "[^\n]+" do
    local name, parents = line:match "^%-%-%-@class ([%w_.]+):?%s*([%w_., ]*)"
    local field, is_optional = line:match "^%-%-%-@field ([%w_]+)(%??) "
    local param, type_of = line:match "^%-%-%-@param ([%w_]+)%??%s+(.*)$"
    local variable = line:match "^local ([%w_]+) = {}"
    local of, mark, method = line:match "^function ([%w_]+)([.:])([%w_]+)%("
    local assigned_of, assigned = line:match "^([%w_]+)%.([%w_]+) ="
    local global = line:match "^function ([%w_]+)%(" or line:match "^([%w_]+) ="
    if name then
      class = class_of(found, name)
      for parent in parents:gmatch "[%w_.]+" do
        class.parents[parent] = true
      end
    elseif field and class then
      class.fields[field] = { is_optional = is_optional == "?" }
    elseif param then
      params[#params + 1] = param
      params[param] = type_of
    elseif variable and class then
      names[variable] = class
    elseif of and names[of] then
      names[of].methods[method] = { is_method = mark == ":", params = params }
      params = {}
    elseif assigned_of and names[assigned_of] then
      names[assigned_of].methods[assigned] = { is_method = false, params = {} }
    elseif global then
      globals[global] = true
      if class then names[global] = class end
    end
    if not line:find "^%-%-" then
      params = {}
      if not variable then class = nil end
    end
  end
end

-- Fields of its parents are a class's own.
local function inherit(found, class, from)
  for parent in pairs(from.parents) do
    for name, field in pairs(found[parent] and found[parent].fields or {}) do
      class.fields[name] = class.fields[name] or field
    end
    if found[parent] then inherit(found, class, found[parent]) end
  end
end

---@param folder string lua/lunarch/library
---@return table classes by name: fields, methods { is_method, params: names in order, and their types by name }
---@return table<string, true> globals
function annotations.read(folder)
  local found, globals = {}, {}
  for _, name in ipairs(FILES) do
    local text = read(folder .. "/" .. name .. ".d.lua")
    if text then take(found, globals, text) end
  end
  for _, class in pairs(found) do
    inherit(found, class, class)
  end
  return found, globals
end

-- The names that a table of this type may hold, or nil: a class of options, or a type written out.
---@param classes table
---@param type_of string "lunarch.put_options", "{ reentrant?: boolean }"
---@return table<string, true>? names
function annotations.options(classes, type_of)
  local names, text = {}, type_of:match "^{(.-)}"
  for name in (text or ""):gmatch "([%w_]+)%??:" do
    names[name] = true
  end
  local class = classes[type_of:match "^([%w_.]+)"]
  if class and type_of:find "options" or class and type_of:find "%.txn" then
    for name in pairs(class.fields) do
      names[name] = true
    end
  end
  return next(names) and names or nil
end

-- The methods and the computed properties of a living object's class; nil for what is no object of ours.
---@param object any
---@return string? class "lunarch.mutex"
---@return table? methods by name
---@return table? properties by name
function annotations.of(object)
  local meta = type(object) == "table" and getmetatable(object)
  local name = type(meta) == "table" and rawget(meta, "__name")
  if type(name) ~= "string" or not name:find "^lunarch%." or type(meta.__index) ~= "function" then return nil end
  local parts = {}
  for i = 1, 20 do
    local upvalue, value = debug.getupvalue(meta.__index, i)
    if not upvalue then break end
    parts[upvalue] = value
  end
  return name, parts.methods or {}, parts.properties or {}
end

return annotations
