-- What may follow what was typed so far: globals, methods and fields, options of a call, names in etcd.
local args = require "lunarch.internal.args"
local globals = require "lunarch.console.globals"
local host = require "lunarch.host"
local texts = require "lunarch.look.text"

args.is_ours()

local complete = {}

-- The line editor waits for the answer, and so does everything else.
local NAMES_S = 0.3
local FRESH_S = 2

local function beginning_with(names, prefix, head)
  local found = {}
  for name in pairs(names) do
    if name:sub(1, #prefix) == prefix then found[#found + 1] = (head or "") .. name end
  end
  table.sort(found)
  return found
end

-- ---- names in strings -------------------------------------------------------------------------------------------

-- All of them; where this user may not read all keys, those that begin as what was typed.
local function read_names(client, word)
  local look = require "lunarch.look"
  local list, _, code = look.names(client, NAMES_S)
  if not list and code == "permission_denied" and word ~= "" then return look.names(client, NAMES_S, word), true end
  return list
end

local function names_in_etcd(console, word)
  local now = host.time()
  local is_of_word = console.names_of and console.names_of ~= word
  if console.names and not is_of_word and now - console.names_at < FRESH_S then return console.names end
  local ok, list, is_part = pcall(read_names, console.world.client, word)
  local names = {}
  for _, name in ipairs(ok and list or {}) do
    names[name] = true
  end
  console.names, console.names_at, console.names_of = names, now, ok and is_part and word or nil
  return names
end

-- A name as it stands in a string of Lua: what is no character of a line, and its quote, are escaped there.
local function in_quotes(name, quote)
  local text = texts.quoted(name):sub(2, -2)
  return quote == "'" and text:gsub('\\"', '"'):gsub("'", "\\'") or text
end

local function in_string(console, word, quote)
  local names = {}
  for name in pairs(names_in_etcd(console, word)) do
    names[in_quotes(name, quote)] = true
  end
  for _, name in ipairs(console.world.names and console.world.names() or {}) do
    names[in_quotes(name, quote)] = true
  end
  return beginning_with(names, word)
end

-- ---- fields and methods -----------------------------------------------------------------------------------------

-- To open a session takes a lease of etcd, and waits.
local function is_unopened_session(name) return name == "session" and rawget(_G, name) == nil end

-- The value of a chain of names, without calling anything of the user's.
local function value_of(console, path)
  local value
  for name in path:gmatch "[%a_][%w_]*" do
    if value == nil then
      if is_unopened_session(name) then return nil end
      value = rawget(_G, name)
      if value == nil then value = globals.find(console.world, console.own, name) end
    elseif type(value) == "table" then
      local ok, found = pcall(function() return value[name] end)
      value = ok and found or nil
    else
      return nil
    end
    if value == nil then return nil end
  end
  return value
end

local function add_members(names, methods, properties)
  for _, list in ipairs { methods or {}, properties or {} } do
    for name in pairs(list) do
      if name:sub(1, 1) ~= "_" then names[name] = true end
    end
  end
  return names
end

local function fields_of(value)
  if type(value) == "string" then return string end
  if type(value) ~= "table" then return {} end
  local names = {}
  for name in pairs(value) do
    if type(name) == "string" and name:find "^%a" then names[name] = true end
  end
  add_members(names, args.members(value))
  local meta = getmetatable(value)
  local index = type(meta) == "table" and meta.__index
  if type(index) == "table" then
    for name in pairs(index) do
      if type(name) == "string" and name:sub(1, 1) ~= "_" then names[name] = true end
    end
  end
  return names
end

local function fields_of_a_session()
  for _, class in ipairs(args.classes()) do
    if class.name == "lunarch.session" then return add_members({ client = true }, class.methods, class.properties) end
  end
  return {}
end

-- ---- options ----------------------------------------------------------------------------------------------------

-- The call whose table of options the cursor is in: "client:get", "candidate", or nil.
local function open_call(line)
  local head = line:match "^(.*){[^{}]*$"
  if not head then return nil end
  return head:match "([%a_][%w_.:]*)%s*%([^()]*$" or head:match "([%a_][%w_.:]*)%s*$"
end

local function options_of(console, line)
  local call = open_call(line)
  if not call then return nil end
  return require("lunarch.console.help").options(console, call)
end

-- ---- all --------------------------------------------------------------------------------------------------------

--- The words that may stand in place of `word`. Called by the line editor: it waits for etcd a moment at most.
---@param console table
---@param line string up to the cursor
---@param word string
---@param quote string the quote of the string that the word is in, or ""
---@return string[]
function complete.words(console, line, word, quote)
  if quote ~= "" then return in_string(console, word, quote) end
  local path, mark, rest = word:match "^(.*)([.:])([%w_]*)$"
  if path then
    local fields = is_unopened_session(path) and fields_of_a_session() or fields_of(value_of(console, path))
    return beginning_with(fields, rest, path .. mark)
  end
  local options = options_of(console, line)
  if options then
    local found = beginning_with(options, word)
    for i, name in ipairs(found) do
      found[i] = name .. "="
    end
    if found[1] then return found end
  end
  return word ~= "" and beginning_with(globals.names(console.world, console.own), word) or {}
end

return complete
