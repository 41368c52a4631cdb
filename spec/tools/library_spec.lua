-- The annotations and the module say the same: every public function, method, field and option, both ways.
local annotations = require "support.annotations"
local args = require "lunarch.internal.args"
local connection = require "lunarch.internal.connection"
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local nginx = require "support.nginx"
local tree = require "support.tree"
local vm = require "support.vm"

local classes, globals = annotations.read(tree.root .. "/lua/lunarch/library")

local function names_of(...)
  local seen, list = {}, {}
  for i = 1, select("#", ...) do
    for name in pairs((select(i, ...))) do
      if not (type(name) ~= "string" or name:find "^_" or seen[name]) then
        seen[name] = true
        list[#list + 1] = name
      end
    end
  end
  table.sort(list)
  return list
end

-- What a user may read in an object bears no underscore; of these nothing is for users but their methods.
local HAS_NO_FIELDS = { ["lunarch.candidate"] = true, ["lunarch.task"] = true }

describe("the annotations", function()
  local client, session, objects

  setup(function()
    local _
    client, _, session = fixture.open { ttl = 60 }
    local election = assert(session:election "/library/election")
    objects = {
      client = client, session = session, mutex = fixture.locked "/library/lock", election = election,
      term = assert(election:campaign "A"), watch = assert(client:watch "/library/k"),
      observer = assert(client:observe "/library/election"), task = lunarch.spawn(function() end),
      future = lunarch.future(), flag = lunarch.event(), mirror = assert(client:mirror "/library/mirror"),
      candidate = lunarch.candidate { client = client, election = "/library/x", do_work = function() end },
    }
    objects.mirror:close()
    objects.task:join()
  end)
  teardown(fixture.close)

  it("of the module name what it exports, and nothing else", function()
    local exported = {}
    for name in pairs(lunarch) do exported[name] = true end
    exported.candidate = lunarch.candidate ~= nil
    exported.singleton = true -- inside nginx alone
    assert.same(names_of(exported), names_of(classes.lunarch.fields, classes.lunarch.methods))
  end)

  local WITHOUT_NGINX = { "client", "session", "mutex", "election", "term", "watch", "observer", "task", "candidate",
    "future", "flag", "mirror" }
  for _, name in ipairs(WITHOUT_NGINX) do
    it("of a " .. name .. " name what it has, and nothing else", function()
      local class, methods, properties = annotations.of(objects[name])
      assert.equal("lunarch." .. name, class)
      assert.same(names_of(methods), names_of(classes[class].methods))
      local fields = HAS_NO_FIELDS[class] and {} or objects[name]
      local declared = {}
      for field, what in pairs(classes[class].fields) do
        if not what.is_optional or fields[field] ~= nil then declared[field] = what end
      end
      assert.same(names_of(fields, properties), names_of(declared))
    end)
  end

  it("know every class that the module has", function()
    local known = names_of(objects)
    for name in pairs(classes) do
      local has_methods = next(classes[name].methods) and name:find "^lunarch%." and not name:find "^lunarch.sim"
      local short = name:match "[^.]+$"
      assert.is_truthy(not has_methods or objects[short] or short == "singleton", name .. " is not among " ..
        table.concat(known, " "))
    end
  end)

  -- Each call is made with an empty table of options: what it would have taken is seen where it is checked.
  it("of options name what each call takes, and nothing else", function()
    local taken, options = {}, args.options
    args.options = function(call, given, spec, ...)
      taken[call] = spec
      return options(call, given, spec, ...)
    end
    local n = 0
    local function check(call, subject, method)
      for i, param in ipairs(method.params) do
        local declared = annotations.options(classes, method.params[param])
        if declared then
          n = n + 1
          local values = { "/library/x", "x", "x" }
          values[i] = {}
          local function fn(...) return subject(...) end
          pcall(fn, vm.unpack(values, 1, i))
          assert.is_truthy(taken[call], call .. " has checked no options")
          assert.same(names_of(declared), names_of(taken[call]), call)
        end
      end
    end
    for name, method in pairs(classes.lunarch.methods) do
      if name ~= "singleton" then check("lunarch." .. name, lunarch[name], method) end
    end
    for class, object in pairs(objects) do
      for name, method in pairs(classes["lunarch." .. class].methods) do
        check(class .. ":" .. name, function(...) return object[name](object, ...) end, method)
      end
    end
    args.options = options
    assert.is_true(n >= 10)
  end)

  it("of a script name each setting and handler, and what it finds", function()
    -- What a candidate takes can be set by globals, but for these: the last one only by candidate{}. Those of the
    -- connection can, too, but some are names that a script has for itself.
    local not_set = { client = true, value = true, log = true, backoff = true }
    for name in pairs(classes["lunarch.candidate_options"].fields) do
      assert.is_true(globals[name] or not_set[name] or connection.OPTIONS[name] ~= nil, name .. " is not declared")
    end
    for _, name in ipairs {
      "election", "ttl", "interval", "on_elected", "do_work", "on_lost", "on_leader", "do_standby", "on_jeopardy",
      "on_safe", "may_stand", "health", "log", "candidate", "lunarch", "sim", "check",
    } do
      assert.is_true(globals[name], name)
    end
  end)

  it("of what nginx has name what there is, and nothing else", function()
    if tree.is_sanitized then return pending "not under the sanitizers" end
    local web = nginx.start {
      workers = 1, env = { ENDPOINT = client.endpoints[1] },
      http = [[
        lua_shared_dict lunarch 1m;
        init_worker_by_lua_block {
          resty = require "resty.lunarch"
          here = assert(resty.new { endpoints = os.getenv "ENDPOINT" })
          job = resty.singleton { election = "/library/job", client = here.client, do_work = function() end }
        }
      ]],
      server = [[ location = /names { content_by_lua_block {
        local annotations = dofile "]] .. tree.root .. [[/spec/support/annotations.lua"
        local found = { ["resty.lunarch"] = resty }
        found["lunarch.singleton"] = select(2, annotations.of(job))
        found["resty.lunarch.worker"] = select(2, annotations.of(here))
        for name, methods in pairs(found) do
          for method in pairs(methods) do ngx.say(name, " ", method) end
        end
      } } ]],
    }
    local status, body = web:get "/names"
    nginx.stop_all()
    assert.equal(200, status, body)
    local found = {}
    for class, method in body:gmatch "(%S+) (%S+)\n" do
      found[class] = found[class] or {}
      if not method:find "^_" then found[class][method] = true end
    end
    for class, methods in pairs(found) do
      local declared = classes[class]
      assert.same(names_of(methods), names_of(declared.methods), class)
    end
  end)
end)
