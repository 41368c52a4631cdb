-- limit: 180 s
-- lunarch run --listen: what it answers, and that it answers by the clock while Lua is busy.
local cjson = require "cjson"
local clock = require "support.clock"
local etcd = require "support.etcd"
local http = require "support.http"
local process = require "support.process"
local proxies = require "support.proxy"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local LEADER = [[
  function on_elected() print "on_elected" end
  function do_work() return 0.05 end
]]

describe("lunarch run --listen", function()
  local server, proxy
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function() n = n + 1 end)
  after_each(function()
    process.end_all()
    if proxy then proxy:stop() end
    proxy = nil
  end)

  -- A program that listens, and its address.
  local function start(text, ...)
    local child = script.start(("name, ttl, election = 'A', 3, '/listen/%d'\n%s"):format(n, text), {
      "--endpoints", proxy and proxy.endpoint or server.endpoint, "--listen", "0", ...,
    })
    return child, child:wait_line "listens at http://".text:match "http://(%S+)"
  end

  local function leads(address, path)
    wait.eventually(function() return (http.get(address, path or "/leader")) == 200 end)
  end

  local function metrics_of(address)
    local status, body, headers = http.get(address, "/metrics")
    assert.equal(200, status)
    assert.truthy(headers:find("text/plain; version=0.0.4", 1, true))
    return body
  end

  -- The parser of Prometheus' own library for Python.
  local function parses(text)
    local path = tree.folder() .. "/metrics"
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    local output, status = process.run { "/usr/bin/python3", "-c", [[
import sys
from prometheus_client.parser import text_string_to_metric_families as families
names = [f.name for f in families(open(sys.argv[1], encoding="utf-8").read())]
assert len(names) == len(set(names)) and len(names) > 15, names
print("parsed")]], path }
    assert.equal(0, status, output)
    assert.truthy(output:find "parsed")
  end

  it("listens at loopback, at a port of its own for 0, which it names in the log", function()
    local child, address = start(LEADER)
    assert.truthy(address:find "^127%.0%.0%.1:%d+$")
    leads(address)
    child:signal "sigterm"
    assert.equal(0, (child:wait_exit()))
  end)

  it("answers 200 on /leader from when on_elected has returned until the leader is told to stop, else 503", function()
    local flag = tree.folder() .. "/go"
    local child, address = start(([[
      function on_elected()
        print "on_elected"
        while not io.open(%q) do lunarch.sleep(0.01) end
      end
      function do_work() return 0.05 end
      function on_lost() print "on_lost" lunarch.sleep(100) end
    ]]):format(flag))
    child:wait_line "^on_elected"
    local status, body = http.get(address, "/leader")
    assert.same({ 503, ("A does not lead /listen/%d: on_elected has not returned\n"):format(n) }, { status, body })
    io.open(flag, "w"):close()
    leads(address)
    assert.truthy(select(2, http.get(address, "/leader")):find "^A leads /listen/%d+, token %d+, for %d%.%d+ s\n$")
    child:signal "sigterm"
    child:wait_line "^on_lost"
    status, body = http.get(address, "/leader")
    assert.same({ 503, ("A does not lead /listen/%d: its term has ended\n"):format(n) }, { status, body })
  end)

  it("answers HEAD, and OPTIONS as HAProxy asks, and nothing else", function()
    local _, address = start(LEADER)
    leads(address)
    assert.equal(200, (http.ask(address, "HEAD", "/leader")))
    assert.equal(200, (http.ask(address, "OPTIONS", "/leader")))
    assert.equal(405, (http.ask(address, "POST", "/leader")))
    assert.equal(404, (http.ask(address, "GET", "/nothing")))
    assert.equal(200, (http.ask(address, "GET", "/")))
  end)

  it("tells several candidates apart by ?name=, an election or a name", function()
    local _, address = start(([[
      candidate { name = "B", election = "/listen/%d/b", do_work = function() end }
      candidate { name = "C", election = "/listen/%d/c", do_work = function() end }
    ]]):format(n, n))
    leads(address, "/leader?name=B")
    leads(address, "/leader?name=/listen/" .. n .. "/c")
    local status, body = http.get(address, "/leader")
    assert.equal(400, status)
    assert.truthy(body:find("?name=", 1, true))
    assert.equal(404, (http.get(address, "/leader?name=D")))
    assert.equal(2, select(2, metrics_of(address):gsub('lunarch_leader{[^\n]*} 1\n', "")))
    assert.equal(2, #cjson.decode((select(2, http.get(address, "/status")))).candidates)
  end)

  it("is ready once there is a session", function()
    proxy = proxies.start(server.client_port)
    proxy:go_silent()
    local _, address = start(LEADER)
    assert.equal(503, (http.get(address, "/ready")))
    assert.equal(503, (http.get(address, "/leader")))
    assert.equal(200, (http.get(address, "/healthz")))
    proxy:heal()
    wait.eventually(function() return (http.get(address, "/ready")) == 200 end)
  end)

  it("is not ready while a candidate is unfit, and says so", function()
    local flag = tree.folder() .. "/fit"
    local child, address = start(([[
      health_interval = 0.1
      function may_stand() return io.open(%q) ~= nil, "not yet" end
    ]]):format(flag) .. LEADER)
    child:wait_line "does not stand in .*not yet"
    local status, body = http.get(address, "/ready")
    assert.same({ 503, ("A in /listen/%d: unfit\n"):format(n) }, { status, body })
    io.open(flag, "w"):close()
    wait.eventually(function() return (http.get(address, "/ready")) == 200 end)
  end)

  it("takes a zero byte in a path or a name for no end of it", function()
    local _, address = start(LEADER)
    leads(address)
    assert.equal(404, (http.get(address, "/leader%00")))
    assert.equal(404, (http.get(address, "/leader%00/x")))
    assert.equal(404, (http.get(address, "/leader?name=A%00")))
    assert.equal(200, (http.get(address, "/leader?name=%41")))
    assert.equal(200, (http.get(address, "/le%61der")))
  end)

  it("says the same of a candidate in all lines of one page", function()
    local _, address = start(LEADER)
    leads(address)
    for _ = 1, 50 do
      local text = metrics_of(address)
      local leader = text:match 'lunarch_leader{[^\n]*} (%d)\n'
      local left = text:match 'lunarch_leader_remaining_seconds{[^\n]*} ([%d.]+)\n'
      assert.equal(leader == "1", tonumber(left) > 0)
    end
  end)

  it("names each figure as Prometheus asks: base units, _total for what is counted, a help, a type", function()
    local _, address = start(LEADER)
    leads(address)
    wait.eventually(function() return metrics_of(address):find 'lunarch_renewals_total{client="1"} [1-9]' end)
    local text = metrics_of(address)
    local n_families = 0
    for name, kind in text:gmatch "# TYPE (%S+) (%S+)\n" do
      n_families = n_families + 1
      assert.truthy(name:find "^lunarch_[a-z_]+$", name)
      assert.equal(kind == "counter", name:find "_total$" ~= nil, name)
      assert.is_nil(name:find "_ms$" or name:find "milli" or name:find "_ns$", name)
      local help = text:match("# HELP " .. name .. " ([^\n]+)\n# TYPE " .. name .. " ")
      assert.truthy(help and help:find "%.$", name)
    end
    assert.truthy(n_families > 15)
    parses(text)
  end)

  it("has no line twice where two candidates are called alike", function()
    local _, address = start(("for _ = 1, 2 do candidate { name = 'B', election = '/listen/%d', do_work = print } end")
      :format(n))
    wait.eventually(function() return metrics_of(address):find 'lunarch_leader{[^\n]*} ' end)
    local text, seen = metrics_of(address), {}
    for name in text:gmatch "\n(lunarch_%S*{.-}) " do
      assert.is_nil(seen[name], name)
      seen[name] = true
    end
    parses(text)
  end)

  it("shows the next of those that are called alike once the first is gone", function()
    local child, address = start([[
      local host, known = require "lunarch.host", {}
      for i, state in ipairs { "new", "unfit", "standing" } do
        known[i] = host.new_fact("X", "/x", { "", "", "", "" })
        known[i]:state(state)
      end
      function do_work()
        table.remove(known, 1)
        collectgarbage()
        print "the first is gone"
        return 1000
      end]])
    child:wait_line "^the first is gone"
    local states = {}
    for state in metrics_of(address):gmatch '{election="/x",candidate="X",state="([%w ]+)"} 1\n' do
      states[#states + 1] = state
    end
    assert.same({ "unfit" }, states)
  end)

  it("leaves descriptors to etcd and commands where a process may have few", function()
    local path = script.write(("name, ttl, election = 'A', 3, '/listen/%d'\n%s"):format(n, [[
      function do_work()
        print("exec " .. tostring(lunarch.exec { "true" } ~= nil))
        return 0.1
      end]]))
    local child = process.start {
      "prlimit", "--nofile=80", tree.program, "run", path, "--endpoints", server.endpoint, "--listen", "0",
    }
    local address = child:wait_line "listens at http://".text:match "http://(%S+)"
    child:wait_line "^exec true"
    local connections = {}
    for i = 1, 60 do
      connections[i] = http.open(address)
      connections[i]:write "GET /leader HTTP/1.1\r\nX: "
    end
    for _ = 1, 5 do
      assert.equal(200, (http.get(address, "/leader")))
      child:wait_line "^exec true"
    end
    assert.is_nil(child:find "^exec false")
    for _, connection in ipairs(connections) do
      connection:close()
    end
  end)

  it("counts terms, losses by reason and hand-overs, and tells of renewals", function()
    local _, address = start [[
      backoff = nil
      candidate { backoff = { stand = { 0.1, 0.1 } }, do_work = function()
        n_terms = (n_terms or 0) + 1
        if n_terms == 1 then return false end
        if n_terms == 2 then error "on purpose" end
        return 0.05
      end }
    ]]
    leads(address)
    wait.eventually(function() return metrics_of(address):find 'lunarch_terms_total{[^\n]*} 3\n' end)
    wait.eventually(function() return metrics_of(address):find 'lunarch_renewals_total{client="1"} [1-9]' end)
    local text = metrics_of(address)
    assert.truthy(text:find 'lunarch_losses_total{[^\n]*,reason="resigned"} 1\n')
    assert.truthy(text:find 'lunarch_losses_total{[^\n]*,reason="error"} 1\n')
    assert.truthy(text:find 'lunarch_handler_failures_total{[^\n]*} 1\n')
    assert.truthy(text:find 'lunarch_handover_seconds_count{[^\n]*} 2\n')
    assert.truthy(text:find 'lunarch_renewal_longest_seconds{client="1"} 0%.%d+\n')
    assert.truthy(text:find 'lunarch_least_slack_seconds{client="1"} %d%.%d+\n')
    local status = cjson.decode((select(2, http.get(address, "/status"))))
    assert.same({ resigned = 1, error = 1 }, status.candidates[1].losses)
    assert.truthy(status.candidates[1].leader and status.candidates[1].remaining > 0)
    parses(text)
  end)

  it("writes names as JSON and Prometheus take them, whatever they hold", function()
    local _, address = start([[name = 'A "quoted" \\ back\nslash \1 \255 h\u{e4}user'
      function do_work() return 0.05 end]])
    leads(address)
    parses(metrics_of(address))
    local name = cjson.decode((select(2, http.get(address, "/status")))).candidates[1].name
    assert.equal('A "quoted" \\ back\nslash \1 \u{FFFD} h\u{e4}user', name)
  end)

  it("answers twenty scrapes a second while do_work is in a busy loop, all of them", function()
    local child, address = start [[
      function do_work()
        print "busy"
        local late = lunarch.now() + 4
        while lunarch.now() < late do end
        print "returned"
      end
    ]]
    child:wait_line "^busy"
    local begun, n_answered = clock.now(), 0
    while clock.now() < begun + 3 do
      local text = metrics_of(address)
      assert.truthy(text:find 'lunarch_leader{[^\n]*} 1\n')
      n_answered = n_answered + 1
      wait.pass(math.max(0, begun + n_answered * 0.05 - clock.now()))
    end
    assert.is_nil(child:find "^returned")
    print(("%d scrapes in 3 s"):format(n_answered))
    parses(metrics_of(address))
  end)

  it("never answers 200 past the end of a term, while a handler blocks", function()
    proxy = proxies.start(server.client_port)
    local child, address = start [[
      function do_work() print "blocks" os.execute "sleep 5" print "returned" end
    ]]
    child:wait_line "^blocks"
    leads(address)
    proxy:go_silent()
    local said = wait.eventually(function() return child:find "goes on after the end" end)
    local status, body = http.get(address, "/leader")
    assert.equal(503, status, body)
    assert.truthy(metrics_of(address):find 'lunarch_leader{[^\n]*} 0\n')
    assert.truthy(metrics_of(address):find 'lunarch_leader_remaining_seconds{[^\n]*} 0%.000\n')
    assert.is_false(cjson.decode((select(2, http.get(address, "/status")))).candidates[1].leader)
    assert.is_nil(child:find "^returned")
    assert.truthy(said)
  end)

  it("nor in the first answer of a process that was stopped, to a request that waited meanwhile", function()
    local child, address = start(LEADER)
    leads(address)
    child:freeze()
    local connection = http.open(address)
    connection:write "GET /leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    wait.pass(4)
    child:thaw()
    wait.eventually(function() return connection.is_closed end)
    assert.truthy(connection.received:find "^HTTP/1.1 503 ", connection.received)
    connection:close()
  end)

  it("says on /healthz that the script has not yielded for three TTLs", function()
    local child, address = start([[function do_work() print "busy" os.execute "sleep 20" end]], "--ttl", "2")
    child:wait_line "^busy"
    assert.equal(200, (http.get(address, "/healthz")))
    wait.eventually(function() return (http.get(address, "/healthz")) == 503 end)
    assert.truthy(metrics_of(address):find "\nlunarch_loop_silent 1\n")
  end)

  it("serves others though a hundred connections say nothing, and though requests never end", function()
    local _, address = start(LEADER)
    leads(address)
    local connections = {}
    for i = 1, 100 do
      connections[i] = http.open(address)
      if i % 2 == 0 then connections[i]:write "GET /leader HTTP/1.1\r\nX: " end
    end
    for _ = 1, 20 do
      assert.equal(200, (http.get(address, "/leader")))
    end
    for _, connection in ipairs(connections) do
      connection:close()
    end
  end)

  it("closes a connection that sends a byte now and then for ever, and refuses headers without end", function()
    local _, address = start(LEADER)
    leads(address)
    local slow = http.open(address)
    slow:write "GET /leader HTTP/1.1\r\nX: "
    wait.eventually(function()
      slow:write "x"
      uv.sleep(100)
      return slow.is_closed
    end)
    assert.equal("", slow.received:match "^HTTP/1.1 200" or "")
    slow:close()
    local long = http.open(address)
    long:write("GET /leader HTTP/1.1\r\nX: " .. ("x"):rep(100000) .. "\r\n\r\n")
    wait.eventually(function() return long.is_closed end)
    assert.is_nil(long.received:match "^HTTP/1.1 200")
    long:close()
    assert.equal(200, (http.get(address, "/leader")))
  end)

  for address, why in pairs {
    ["80x"] = "'80x' is not an address to listen at: HOST:PORT, [IPv6]:PORT or PORT",
    ["::1:80"] = "'::1:80' is not an address to listen at",
    ["127.0.0.1:65536"] = "'127.0.0.1:65536' is not an address to listen at",
    [""] = "'' is not an address to listen at",
    ["192.0.2.1:0"] = "cannot listen at 192.0.2.1:0: this machine does not have that address",
    ["no.such.host.invalid:80"] = "cannot listen at no.such.host.invalid:80: ",
  } do
    it("refuses, with status 2, --listen " .. address, function()
      local output, status = script.run(LEADER, { "--endpoints", server.endpoint, "--listen", address })
      assert.equal(2, status)
      assert.truthy(output:find("lunarch: --listen: " .. why, 1, true), output)
    end)
  end

  it("is refused before a private etcd is begun", function()
    local runtime = tree.folder()
    assert(uv.fs_chmod(runtime, 448))
    local output, status = script.run(LEADER, { "--dev", "--listen", "80x", env = { XDG_RUNTIME_DIR = runtime } })
    assert.equal(2, status)
    assert.truthy(output:find("is not an address to listen at", 1, true), output)
    assert.is_nil(output:find("private etcd", 1, true), output)
    assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(runtime)))
  end)

  it("ends with the program that cannot begin: another may listen there at once", function()
    local output, status, signal = script.run(LEADER, { "--dev=a/b", "--listen", "0" })
    assert.same({ 2, 0 }, { status, signal })
    assert.truthy(output:find("'a/b' is not a name", 1, true), output)
  end)

  it("refuses, with status 2, a port that is taken, and in JSON", function()
    local _, address = start(LEADER)
    local output, status = script.run(LEADER, { "--listen", address, "--log", "json" })
    assert.equal(2, status)
    local entry = cjson.decode(output)
    assert.same({ "error", ("--listen: cannot listen at %s: another program listens there"):format(address) },
      { entry.level, entry.message })
  end)

  it("leaves no socket to the commands of a script", function()
    local text = ([[
      election = "/listen/%d"
      function on_elected()
        print("sockets " .. io.popen("ls -l /proc/self/fd | grep -c socket: || true"):read "l")
      end
      function do_work() return 0.05 end
    ]]):format(n)
    local without = script.start(text, { "--endpoints", server.endpoint }):wait_line "^sockets".text
    process.end_all()
    assert.equal(without, start(text):wait_line "^sockets".text)
  end)
end)
