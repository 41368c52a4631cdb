-- limit: 60 s
-- help: one screen, and the annotation of every public name, from lua/lunarch/library alone.
local annotations = require "support.annotations"
local entries = require "lunarch.console.annotations"
local lunarch = require "lunarch"
local tree = require "support.tree"
local verbs = require "lunarch.console.verbs"

-- The host's own module, without the host.
package.loaded["lunarch.host"] = package.loaded["lunarch.host"] or {
  is_terminal = function() return false end, time = os.time, version = lunarch.version,
}

local help = require "lunarch.console.help"
local show = require "lunarch.console.show"

local classes, globals = annotations.read(tree.root .. "/lua/lunarch/library")

local function world_of(name)
  local world = { name = name, verbs = {} }
  for _, verb in pairs(verbs.by_name) do
    if not verb.worlds or verb.worlds[name] then world.verbs[verb.name] = function() end end
  end
  return world
end

local function explain(x, world)
  return show.value(help.of({ world = world or world_of "dev", own = {} }, x))
end

describe("help", function()
  it("is one screen in every world", function()
    for _, name in ipairs { "cluster", "dev", "lab", "sim" } do
      local text = help.screen(world_of(name))
      local _, n = text:gsub("\n", "")
      assert.truthy(n < 24, name .. " has " .. n .. " lines")
      for line in text:gmatch "[^\n]+" do
        assert.truthy(#line <= 80, line)
      end
      for _, verb in pairs(verbs.by_name) do
        local is_there = not verb.worlds or verb.worlds[name] or false
        assert.equal(is_there, text:find(verb.usage, 1, true) ~= nil, name .. ": " .. verb.name)
      end
    end
  end)

  it("explains every function of the module and every method", function()
    local n = 0
    for class, it in pairs(classes) do
      for name, method in pairs(it.methods) do
        local full = class:gsub("^lunarch%.", "") .. (method.is_method and ":" or ".") .. name
        local text = explain(full)
        n = n + 1
        assert.falsy(text:find("nothing is called", 1, true), full)
        assert.truthy(text:find(full, 1, true), full .. " got:\n" .. text)
        for _, param in ipairs(method.params) do
          assert.truthy(text:find("\n  " .. param .. "%??  "), full .. " without " .. param)
        end
      end
    end
    assert.truthy(n > 50)
  end)

  it("explains everything public that the loaded module has, by its name and by the value itself", function()
    local n = 0
    local function check(x, what)
      local text = explain(x)
      n = n + 1
      assert.falsy(text:find("nothing is called", 1, true) or text:find("there is no annotation", 1, true), what)
    end
    for name, value in pairs(lunarch) do
      if not name:find "^_" then
        check("lunarch." .. name, name)
        if type(value) ~= "string" then check(value, name .. " itself") end
      end
    end
    local is_class = {}
    for _, class in ipairs(require("lunarch.internal.args").classes()) do
      is_class[class.name] = true
      for name, method in pairs(class.methods) do
        if not name:find "^_" then check(method, class.name .. ":" .. name) end
      end
      for name in pairs(class.properties) do
        if not name:find "^_" then check(class.name .. "." .. name, class.name .. "." .. name) end
      end
    end
    for _, name in ipairs { "client", "session", "term", "future", "flag", "mirror", "candidate", "task" } do
      assert.truthy(is_class["lunarch." .. name], name)
    end
    assert.truthy(n > 100, n)
  end)

  it("explains fields by the name of their class, or all of that name", function()
    assert.equal("lunarch.version: string three numbers with dots between them", explain "lunarch.version")
    assert.equal("term.token: integer the fencing token: it rises with each leader", explain "term.token")
    local text = explain "token"
    for _, class in ipairs { "term", "mutex", "leader" } do
      assert.truthy(text:find(class .. ".token: integer", 1, true), text)
    end
    assert.equal("log.info: fun(format: string, ...: any)", explain "log.info")
  end)

  it("explains every class with its fields, every handler, setting and verb", function()
    for class, it in pairs(classes) do
      local text = explain(class)
      for name in pairs(it.fields) do
        assert.truthy(text:find("\n  " .. name, 1, true), class .. " without " .. name)
      end
    end
    for name in pairs(globals) do
      assert.falsy(explain(name):find("nothing is called", 1, true), name)
    end
    for name in pairs(verbs.by_name) do
      assert.truthy(explain(name):find("^" .. name .. "%("), name)
    end
  end)

  it("explains every code and every reason by the words that stand in the library", function()
    local text = tree.read(tree.root .. "/lua/lunarch/library/lunarch.d.lua")
    local n = 0
    for code, words in text:gmatch "%-%-%-| '\"([%w_]+)\"' +# ([^\n]+)" do
      n = n + 1
      assert.truthy(explain(code):gsub("%s+", " "):find(words, 1, true), code)
    end
    assert.truthy(n >= 20)
  end)

  it("explains functions, objects and verbs by the value itself", function()
    local world = world_of "dev"
    for value, expected in pairs {
      [lunarch.connect] = "lunarch.connect(options)", [lunarch.sleep] = "lunarch.sleep(seconds)",
      [world.verbs.lock] = "lock(name, seconds)", [lunarch] = "lunarch",
    } do
      assert.equal(expected, (explain(value, world):match "^[^\n]+"))
    end
    local client = assert(lunarch.connect { endpoints = "127.0.0.1:1" })
    assert.equal("client:get(key, options, timeout)", (explain(client.get):match "^[^\n]+"))
    assert.equal("client", (explain(client):match "^[^\n]+"))
    client:close(0)
  end)

  it("keeps to 80 columns, where no word is longer", function()
    for _, entry in ipairs(entries.all()) do
      for line in help.text(entry):gmatch "[^\n]+" do
        local is_text = not line:find("(", 1, true) and line:find "^  %l*%s?%S+ %S+ %S+"
        assert.truthy(not is_text or #line <= 80, line)
      end
    end
  end)

  it("says what was probably meant, and what has no annotation", function()
    assert.equal('nothing is called "campagn": did you mean "campaign"?', explain "campagn")
    assert.truthy(explain(print):find("there is no annotation of this function", 1, true))
  end)

  it("names a field once that a class declares anew", function()
    local text, n = explain "lunarch.console.candidate_options", 0
    for _ in text:gmatch "\n  election%?? " do n = n + 1 end
    assert.equal(1, n, text)
    assert.truthy(text:find("\n  script? ", 1, true) and text:find("\n  ttl? ", 1, true), text)
  end)

  it("has no text of its own for what the library explains", function()
    for _, entry in ipairs(entries.all()) do
      assert.truthy(entry.name ~= "" and entry.comment)
    end
  end)
end)
