-- No password, token or key is in a message, a trace, an object's text, a command line or the environment of a child.
local etcd = require "support.etcd"
local pkis = require "support.pki"
local process = require "support.process"
local tree = require "support.tree"
local users = require "support.users"
local uv = require "luv"
local wait = require "support.wait"

local SECRET = "s3cret-Of-The-Spec"

describe("a secret", function()
  local server, folder

  setup(function()
    server = etcd.start()
    folder = tree.folder()
    tree.write(folder .. "/password", SECRET .. "\n")
    users.add_root(server)
    users.add(server, "alice:" .. SECRET, "a", "readwrite", "/a/")
    users.must(server, "auth", "enable")
  end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  -- Everything a program says, its trace included.
  local function said_by(text, env)
    local all = { LUNARCH_TRACE = "1", ENDPOINT = server.endpoint, SECRET = SECRET }
    for name, value in pairs(env or {}) do
      all[name] = value
    end
    local output, status = process.run { "lua", "-e", [[
      local lunarch = require "lunarch"
      local S, endpoints = os.getenv "SECRET", os.getenv "ENDPOINT"
      local function show(...)
        for i = 1, select("#", ...) do print((tostring((select(i, ...))))) end
      end
      local function try(options) show(pcall(lunarch.connect, options)) end
    ]] .. text, env = all }
    assert.equal(0, status, output)
    return output
  end

  local function is_kept(output)
    assert.is_nil(output:find(SECRET, 1, true), output)
    assert.is_nil(output:find "%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%a%.%d+\n", output) -- a simple token
  end

  it("is in no trace, error or text of an object of a client that works, is refused and is denied", function()
    local output = said_by [[
      local client = assert(lunarch.connect { endpoints = endpoints, user = "alice:" .. S })
      local session = assert(client:session { ttl = 10 })
      local mutex = session:mutex "/a/lock"
      assert(mutex:lock(5))
      show(client, session, mutex, rawget(client, "_core"), rawget(session, "_core"), client:put("/b/x", "1"))
      show(client:watch("/b/x"):next(5))
      for name, value in pairs(client) do show(name, value) end
      assert(mutex:unlock())
      client:close(5)
      local wrong = assert(lunarch.connect { endpoints = endpoints, user = "alice", password = S .. "!" })
      show(wrong:get("/a/x", nil, 5))
      local both = assert(lunarch.connect { endpoints = endpoints, user = "alice:" .. S, password = "other" })
      show(both:get("/a/x", nil, 5))
    ]]
    is_kept(output)
    assert.matches("permission denied", output)
    assert.matches("user alice: .*authentication failed", output)
  end)

  it("is in no complaint about the option it stands in", function()
    local pki = pkis.usual()
    is_kept(said_by([[
      try { endpoints = endpoints, user = "alice", password = S .. "\0" }
      try { endpoints = endpoints, user = "alice", password = { S } }
      try { endpoints = endpoints, user = "alice:" .. S .. "\0" }
      try { endpoints = endpoints, user = "alice", passwrod = S }
      try { endpoints = "https://alice:" .. S .. "@127.0.0.1:2379" }
      try { endpoints = { "alice:" .. S .. "@127.0.0.1:2379" } }
      local cert = os.getenv "CERT"
      for _, key in ipairs {
        S .. "\n" .. S, "M" .. S:gsub("-", "/"):rep(3), S .. "\0", "-----BEGIN PRIVATE KEY-----\n" .. S,
      } do
        try { endpoints = "https://127.0.0.1:1", cert = cert, key = key }
        try { endpoints = "https://127.0.0.1:1", cert = key, key = key }
      end
    ]], { CERT = pki:path "alice.crt" }):gsub("/Of/The/", "-Of-The-"))
    tree.remove(pki.folder)
  end)

  it("is in no log, trace or command line of the program, and --user takes none", function()
    local script = folder .. "/work.lua"
    tree.write(script, [[
      election = "/a/election"
      function on_elected(term) log.info("elected") end
      function do_work(term) term:put("/b/denied", "x") return 0.05 end
    ]])
    local child = process.start {
      "lunarch", "run", script, "--endpoints", server.endpoint,
      "--user", "alice", "--password-file", folder .. "/password",
      env = { LUNARCH_TRACE = "1" },
    }
    child:wait_line "elected"
    is_kept(tree.read("/proc/" .. child.pid .. "/cmdline"):gsub("%z", "\n") .. "\n")
    is_kept(tree.read("/proc/" .. child.pid .. "/comm"))
    child:signal "sigterm"
    child:wait_exit()
    is_kept(child:output())
    local output, status = process.run { "lunarch", "run", script, "--user", "alice:" .. SECRET }
    assert.equal(2, status)
    is_kept(output)
  end)

  it("of a script's settings is in no word of the simulator", function()
    local script = folder .. "/sim.lua"
    tree.write(script, ([[
      election, ttl, user, password = "/a/election", 5, "alice", %q
      function do_work(term) return 1 end
    ]]):format(SECRET))
    is_kept((process.run { "lunarch", "sim", script, "--seeds", "1..3", "--trace" }))
    is_kept((process.run { "lunarch", "check", script }))
  end)

  it("is not in the environment of a command, unless it is given to it by name", function()
    local pem = "-----BEGIN PRIVATE KEY-----\n" .. SECRET .. "\n-----END PRIVATE KEY-----\n"
    local env = {
      LUNARCH_USER = "alice:" .. SECRET, LUNARCH_PASSWORD = SECRET, LUNARCH_KEY = pem, LUNARCH_CERT = folder .. "/cert",
      ETCDCTL_USER = "alice:" .. SECRET, ETCDCTL_PASSWORD = SECRET, ETCDCTL_KEY = folder .. "/key", ETCDCTL_CERT = pem,
    }
    local text = [[
      local command = { "env", env = { A = "b" } }
      local seen = assert(lunarch.exec(command)).stdout
      for _, name in ipairs { "LUNARCH_USER=alice\n", "LUNARCH_CERT=/", "ETCDCTL_KEY=/", "A=b\n" } do
        if not seen:find(name) then print("missing:", name) end
      end
      print(("\n" .. seen):gsub("\nSECRET=[^\n]*", ""))
      command.env.LUNARCH_PASSWORD = "given"
      print(assert(lunarch.exec(command)).stdout:match "LUNARCH_PASSWORD=[^\n]*")
    ]]
    local output = said_by(text, env)
    is_kept(output)
    assert.is_nil(output:find "missing:", output)
    assert.matches("LUNARCH_PASSWORD=given", output)
  end)

  it("is not in the environment of a private etcd or of its keeper", function()
    local runtime = tree.folder()
    assert(uv.fs_chmod(runtime, 448))
    local env = {
      XDG_RUNTIME_DIR = runtime, LUNARCH_USER = "alice:" .. SECRET, LUNARCH_PASSWORD = SECRET, LUNARCH_KEY = SECRET,
      ETCDCTL_PASSWORD = SECRET, ETCDCTL_USER = "alice:" .. SECRET,
    }
    local child = process.start { "lunarch", "run", "-", "--dev", stdin = true, env = env }
    child:write "print 'ready' lunarch.sleep(60)\n"
    child:close_stdin()
    local found = wait.eventually(function()
      local own = {}
      local scan = uv.fs_scandir "/proc"
      while true do
        local name = uv.fs_scandir_next(scan)
        if not name then break end
        local environ = name:find "^%d+$" and tree.read("/proc/" .. name .. "/environ") or ""
        local cmdline = tree.read("/proc/" .. name .. "/cmdline")
        if environ:find(runtime, 1, true) and cmdline:find(runtime, 1, true) then own[#own + 1] = environ end
      end
      return #own >= 2 and own
    end, nil, "the keeper and its etcd")
    for _, environ in ipairs(found) do
      assert.is_nil(environ:find(SECRET, 1, true))
    end
  end)
end)
