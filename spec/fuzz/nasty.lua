-- Values that nobody should give to a call, and some that one may. Runs on each VM, inside nginx too.
local nasty = {}

-- Errors that our own values raise are known by this word.
nasty.WORD = "poisoned"
-- Whether functions of ours may yield what nobody asked for: cqueues ends a controller over that.
nasty.may_yield = true

local function poison() error(nasty.WORD, 0) end

local POISONED = setmetatable({}, {
  __index = poison, __newindex = poison, __len = poison, __call = poison, __tostring = poison, __pairs = poison,
  __eq = poison, __lt = poison, __le = poison, __concat = poison, __add = poison, __unm = poison,
})

local function cyclic()
  local a, b = {}, {}
  a[1], a.self, b[1], a.b = a, a, a, b
  return a
end

local function deep()
  local root = {}
  local at = root
  for _ = 1, 300 do
    at[1], at.prefix = {}, at
    at = at[1]
  end
  return root
end

local function dead_coroutine()
  local thread = coroutine.create(function() end)
  coroutine.resume(thread)
  return thread
end

local BIG = ("x"):rep(1024 * 1024)

-- Each makes a value anew; its name is what a report calls it.
local MAKERS = {
  { "nil", function() return nil end }, { "true", function() return true end },
  { "false", function() return false end },
  { "0", function() return 0 end }, { "1", function() return 1 end }, { "-1", function() return -1 end },
  { "0.5", function() return 0.5 end }, { "1e-300", function() return 1e-300 end },
  { "nan", function() return 0 / 0 end }, { "inf", function() return math.huge end },
  { "-inf", function() return -math.huge end }, { "2^53", function() return 2 ^ 53 end },
  { "2^63", function() return 2 ^ 63 end }, { "-2^63", function() return -2 ^ 63 end },
  { "maxinteger", function() return math.maxinteger or 2 ^ 62 end },
  { "mininteger", function() return math.mininteger or -2 ^ 62 end }, { "1e308", function() return 1e308 end },
  { '""', function() return "" end }, { '"\\0"', function() return "\0" end }, { '"/"', function() return "/" end },
  { '"/a/"', function() return "/a/" end }, { '"a\\0b"', function() return "a\0b" end },
  { '"\\255\\254"', function() return "\255\254" end }, { '"%s%n"', function() return "%s%n%d" end },
  { '"5"', function() return "5" end }, { '"0x10"', function() return "0x10" end },
  { '"nan"', function() return "nan" end },
  { "5000 slashes", function() return ("/"):rep(5000) end }, { "a megabyte", function() return BIG end },
  { "{}", function() return {} end }, { "a cycle", cyclic }, { "a deep table", deep },
  { "poison", function() return POISONED end },
  { "a list", function() return { 1, "2", {}, print } end }, { "holes", function() return { nil, 2, nil, 4 } end },
  { "a coroutine", function() return coroutine.create(poison) end }, { "a dead coroutine", dead_coroutine },
  { "print", function() return type end }, { "a function", function() return function(...) return ... end end },
  { "a poisoned function", function() return poison end },
  { "a function that yields", function() return function() if nasty.may_yield then coroutine.yield(1) end end end },
  { "a function that collects", function() return function() collectgarbage() end end },
  { "a file", function() return io.stdout end },
  { "_G", function() return _G end },
}

-- What a string or number of ours may be, by the name of the parameter.
local SANE = {
  timeout = function(random) return random:below(40) / 1000 end,
  seconds = function(random) return random:below(40) / 1000 end,
  name = function(random) return "/fuzz/name/" .. random:below(6) end,
  key = function(random) return "/fuzz/key/" .. random:below(6) end,
  value = function(random) return "value " .. random:below(100) end,
  lease = function(random) return ("%x"):format(random:below(1000000) + 1) end,
  fn = function(random)
    return random:chance(50) and function() end or function(...) return ... end
  end,
  ttl = function(random) return 2 + random:below(60) end,
  prefix = function() return true end,
  election = function(random) return "/fuzz/election/" .. random:below(4) end,
  do_work = function() return function() end end,
  success = function() return { { "get", "/fuzz/key/1" }, { "put", "/fuzz/key/2", "v" } } end,
  compare = function() return { { "create", "/fuzz/key/1", "=", 0 } } end,
  state = function() return "alive" end,
}

-- What has no end, or none worth waiting for.
local LONG = {
  ["nil"] = true, ["1"] = true, inf = true, ["2^53"] = true, ["2^63"] = true, maxinteger = true, ["1e308"] = true,
}
local TIMES = { timeout = true, seconds = true }

---@param random table
---@param objects table living and closed objects of ours: is_empty(), pick(random)
---@return any value, string description
function nasty.value(random, objects)
  if not objects:is_empty() and random:chance(12) then
    local object = objects:pick(random)
    if random:chance(20) and type(object) == "table" and rawget(object, "_core") then
      return rawget(object, "_core"), "a core object"
    end
    return object, "an object"
  end
  local maker = random:pick(MAKERS)
  return maker[2](), maker[1]
end

-- Mostly what a parameter of this name may be, else anything; where nobody can interrupt, no time that is allowed and
-- long.
function nasty.parameter(random, objects, name, percent_sane, is_bounded)
  local sane = SANE[name]
  if sane and random:chance(percent_sane) then return sane(random), "a good " .. name end
  local value, what = nasty.value(random, objects)
  if is_bounded and TIMES[name] and LONG[what] then return sane(random), "a good " .. name end
  return value, what
end

-- A table of options, some of the names that the call knows, with good values and bad ones.
---@param names table<string, true>
function nasty.options(random, objects, names)
  local sorted, options, text = {}, {}, {}
  for name in pairs(names) do
    sorted[#sorted + 1] = name
  end
  table.sort(sorted)
  for _, name in ipairs(sorted) do
    if random:chance(SANE[name] and 70 or 25) then
      local value, what = nasty.parameter(random, objects, name, 70)
      options[name] = value
      text[#text + 1] = name .. " = " .. what
    end
  end
  if random:chance(5) then options[random:pick { 1, "nonsense", true, 0.5 }] = 1 end
  return options, "{ " .. table.concat(text, ", ") .. " }"
end

return nasty
