-- Locks belong to the request in which they were taken, whatever happens to it: no internal redirect, subrequest or
-- aborted connection leaves one behind, and none is given up before the request ends.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local pkis = require "support.pki"
local ports = require "support.ports"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local SHARED = [[
  lua_check_client_abort on;
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 60 })
    function again(name)
      local own, message, code = here:lock("/request/" .. (name or ngx.var.arg_name))
      ngx.print(code, own or message:match "this request itself")
    end
    function try() ngx.print((here:lock("/request/" .. ngx.var.arg_name)) and "locked" or "its own") end
    function lock() assert(here:lock("/request/" .. ngx.var.arg_name, 5)) end
  }
]]

-- Every location takes the lock that its argument names, and ends in its own way. None calls release.
local SERVER = [[
  error_page 500 502 503 504 /50x.html;
  location = /50x.html { content_by_lua_block { ngx.print "sorry" } }
  location = /html { root PREFIX; default_type text/html; }
  location / { root PREFIX; index index.html; access_by_lua_block { if not ngx.req.is_internal() then lock() end } }
  location = /answered { content_by_lua_block { ngx.print "answered" } }
  location = /named-by-header { internal; content_by_lua_block { ngx.print "accelerated" } }
  location @named { content_by_lua_block { ngx.print "named" } }
  location = /upstream { content_by_lua_block { ngx.header["X-Accel-Redirect"] = "/named-by-header" } }

  location = /dead-backend { access_by_lua_block { lock() } proxy_pass http://127.0.0.1:DEAD; }
  location = /dead-backend-rewrite { rewrite_by_lua_block { lock() } proxy_pass http://127.0.0.1:DEAD; }
  location = /fails { content_by_lua_block { lock() error "on purpose" } }
  location = /exits { content_by_lua_block { lock() ngx.exit(503) } }
  location = /exits-in-access {
    access_by_lua_block { lock() ngx.exit(ngx.OK) }
    content_by_lua_block { ngx.print "on" }
  }
  location = /exec { content_by_lua_block { lock() ngx.exec "/answered" } }
  location = /exec-named { access_by_lua_block { lock() ngx.exec "@named" } }
  location = /set-uri { rewrite_by_lua_block { lock() ngx.req.set_uri("/answered", true) } }
  location = /redirect { content_by_lua_block { lock() ngx.redirect "/answered" } }
  location = /try { access_by_lua_block { ngx.ctx = {} } rewrite_by_lua_block { lock() } try_files /none /answered; }
  location = /accel { access_by_lua_block { lock() } proxy_pass http://127.0.0.1:PORT/upstream; }
  location = /closed { content_by_lua_block { lock() ngx.print "x" ngx.eof() ngx.sleep(0.05) } }
  location = /ctx { content_by_lua_block { ngx.ctx = {} lock() ngx.ctx = { a = 1 } ngx.print "x" } }
  location = /thread { content_by_lua_block {
    ngx.thread.wait(ngx.thread.spawn(lock))
    ngx.print "x"
  } }
  location = /coroutine { content_by_lua_block {
    coroutine.wrap(lock)()
    ngx.print "x"
  } }
  location = /locked { content_by_lua_block { lock() ngx.print "locked" } }
  location = /subrequest { content_by_lua_block {
    ngx.print(ngx.location.capture("/locked?name=" .. ngx.var.arg_name).body)
  } }
  location = /subrequests { content_by_lua_block {
    local name = ngx.var.arg_name
    ngx.location.capture_multi { { "/locked?name=" .. name .. "/a" }, { "/fails?name=" .. name .. "/b" } }
    ngx.print "x"
  } }
  location = /twice { content_by_lua_block { lock() again() } }
  location = /twice-later { access_by_lua_block { lock() } content_by_lua_block { again() } }
  location = /twice-exec { content_by_lua_block { lock() ngx.exec("/again", ngx.var.args) } }
  location = /twice-rewritten {
    rewrite_by_lua_block { lock() ngx.req.set_uri("/again", true) }
  }
  location = /twice-below { content_by_lua_block {
    lock()
    ngx.print(ngx.location.capture("/again?" .. ngx.var.args).body)
  } }
  location = /twice-in-two { content_by_lua_block {
    ngx.location.capture("/locked?" .. ngx.var.args)
    ngx.print(ngx.location.capture("/again?" .. ngx.var.args).body)
  } }
  location = /twice-authorized { auth_request /locked-for-it; content_by_lua_block { again "authorized" } }
  location = /alike { content_by_lua_block {
    local path = "/attempt?name=" .. ngx.var.arg_name
    local one, other = ngx.location.capture_multi { { path }, { path } }
    one, other = one.body, other.body
    ngx.print(one < other and one .. other or other .. one)
  } }
  location = /attempt { content_by_lua_block { try() } }
  location = /alike-in-threads { content_by_lua_block {
    for _, thread in ipairs { ngx.thread.spawn(try), ngx.thread.spawn(try) } do ngx.thread.wait(thread) end
  } }
  location = /again { content_by_lua_block { again() } }
  location = /in-turn { content_by_lua_block {
    local function hold()
      local own = assert(here:lock("/request/" .. ngx.var.arg_name))
      ngx.sleep(0.02)
      own:unlock()
    end
    local first, second = ngx.thread.spawn(hold), ngx.thread.spawn(hold)
    ngx.print(ngx.thread.wait(first), ngx.thread.wait(second))
  } }
  location = /authorized { auth_request /locked-for-it; content_by_lua_block { ngx.print "authorized" } }
  location = /locked-for-it { rewrite_by_lua_block { ngx.var.args = "name=authorized" }
    content_by_lua_block { lock() ngx.print "yes" } }
  location = /held { content_by_lua_block { lock() ngx.sleep(60) } }
  location = /held-upstream { access_by_lua_block { lock() } proxy_pass http://127.0.0.1:PORT/sleep; }
  location = /held-exec { content_by_lua_block { lock() ngx.exec "/sleep" } }
  location = /held-subrequest { content_by_lua_block { ngx.location.capture("/held?name=" .. ngx.var.arg_name) } }
  location = /sleep { content_by_lua_block { ngx.sleep(60) } }
  location = /during { content_by_lua_block { lock() ngx.exec("/hold-on", ngx.var.args) } }
  location = /hold-on { content_by_lua_block { ngx.sleep(0.3) ngx.print "held" } }
  location = /released-for-it { auth_request /locked-for-it;
    content_by_lua_block { lunarch.release() ngx.print(#here.client:get("/request/authorized/", { prefix = true })) } }
  location = /refused {
    content_by_lua_block { ngx.print "x" }
    log_by_lua_block { is_refused = not pcall(here.lock, here, "/request/refused") }
  }
  location = /many { content_by_lua_block {
    local kept = setmetatable({}, { __mode = "k" })
    local first = here:lock "/request/many"
    first:unlock()
    for i = 1, 300 do
      local own = here:lock("/request/many" .. i % 3)
      kept[own] = true
      own:unlock()
    end
    first:lock()
    collectgarbage() collectgarbage()
    local n = 0
    for _ in pairs(kept) do n = n + 1 end
    ngx.print(n)
  } }
  location = /timer { content_by_lua_block {
    local by, held = ngx.var.arg_by, require("ngx.semaphore").new()
    local function fn() held:post() ngx.sleep(0.1) ngx.exit(0) end
    ngx.timer.at(0, function()
      if by == "mutex" then here:session(5):mutex("/request/timer"):with(fn)
      else here:with("/request/timer", 5, fn) end
    end)
    ngx.print(held:wait(10) and #here.client:get("/request/timer/", { prefix = true }))
  } }
  location = /failing-timers { content_by_lua_block {
    local name = "/request/failing"
    ngx.timer.at(0, function() local own = here:lock(name .. 1, 5) error(own.name) end)
    require("lunarch").spawn(function() local own = here:lock(name .. 2, 5) ngx.exit(own.token) end)
    ngx.timer.at(0, function() package.loaded.handed_on = here:lock(name .. 3, 5) end)
    repeat ngx.sleep(0.01) until package.loaded.handed_on
  } }
  location = /given-up { content_by_lua_block {
    ngx.thread.spawn(function() ngx.sleep(0.05) ngx.exit(503) end)
    lock()
  } }
  location = /reads { content_by_lua_block { ngx.print(select(2, here.client:get "/request/none") or "nothing") } }
  location = /released { content_by_lua_block { lock() ngx.sleep(0.3) lunarch.release() ngx.sleep(60) } }
]]

-- What a request by HTTP/2 is, without a library: preface, settings, headers.
local function http2_get(path)
  local function frame(kind, flags, stream, payload)
    return string.pack(">I3I1I1I4", #payload, kind, flags, stream) .. payload
  end
  local headers = "\x82\x86\x04" .. string.char(#path) .. path .. "\x41\x04spec"
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" .. frame(4, 0, 0, "") .. frame(1, 5, 1, headers)
end

describe("a request's locks", function()
  local client, server, web, h2_port

  setup(function()
    client, server = fixture.open { ttl = 60 }
    h2_port = ports.free()
    web = nginx.start {
      env = { ENDPOINT = server.endpoint }, workers = 1,
      server = SERVER:gsub("DEAD", tostring(ports.free())),
      http = SHARED .. ([[
        server {
          listen 127.0.0.1:H2 http2;
          location = /locked { content_by_lua_block { lock() ngx.print "locked" } }
          location = /held { content_by_lua_block { lock() ngx.sleep(60) } }
        }
      ]]):gsub("H2", tostring(h2_port)),
    }
    local file = assert(io.open(web.prefix .. "/index.html", "w"))
    file:write "an index"
    file:close()
  end)
  teardown(function()
    nginx.stop_all()
    fixture.close()
  end)

  local function places(name)
    return #client:get("/request/" .. name, { prefix = true })
  end

  local function await_places(name, n)
    wait.eventually(function() return places(name) == n end, nil, n .. " places in " .. name)
  end

  local TWICE = "lockedthis request itself"

  local ENDINGS = {
    ["/twice"] = TWICE, ["/twice-later"] = TWICE, ["/twice-exec"] = TWICE, ["/twice-rewritten"] = TWICE,
    ["/twice-below"] = TWICE, ["/twice-in-two"] = TWICE, ["/twice-authorized"] = TWICE, ["/in-turn"] = "truetrue",
    ["/alike"] = "its ownlocked", ["/alike-in-threads"] = "lockedits own",
    ["/dead-backend"] = "sorry", ["/dead-backend-rewrite"] = "sorry", ["/fails"] = "sorry", ["/exits"] = "sorry",
    ["/exits-in-access"] = "on", ["/exec"] = "answered", ["/exec-named"] = "named", ["/set-uri"] = "answered",
    ["/redirect"] = "302 Found", ["/try"] = "answered", ["/accel"] = "accelerated", ["/closed"] = "x", ["/ctx"] = "x",
    ["/thread"] = "x", ["/coroutine"] = "x", ["/"] = "an index", ["/none"] = "404 Not Found",
    ["/subrequest"] = "locked", ["/subrequests"] = "x", ["/authorized"] = "authorized",
  }
  for path, answer in pairs(ENDINGS) do
    it("are given up at its end: " .. path, function()
      local name = path:find "authorized" and "authorized" or "end" .. path .. "1"
      for _ = 1, 2 do
        local _, body = web:get(path .. (path == "/authorized" and "" or "?name=" .. name))
        assert.matches(answer, body, 1, true)
        await_places(name, 0)
      end
    end)
  end

  it("are given up when the client goes, whatever the request waits for", function()
    for _, path in ipairs { "/held", "/held-upstream", "/held-exec", "/held-subrequest" } do
      local name = "gone" .. path
      local request = web:open(path .. "?name=" .. name)
      await_places(name, 1)
      request:close()
      await_places(name, 0)
    end
  end)

  it("are kept until then, over an internal redirect", function()
    local request = web:open "/during?name=during"
    await_places("during", 1)
    assert.is_false(request:is_over())
    assert.same({ 200, "held" }, { request:wait() })
    await_places("during", 0)
  end)

  it("are given up before by release", function()
    local request = web:open "/released?name=released"
    await_places("released", 1)
    await_places("released", 0)
    assert.is_false(request:is_over())
    request:close()
  end)

  it("are given up by release, those of its subrequests too", function()
    wait.eventually(function() return select(2, web:get "/released-for-it") == "0" end)
    await_places("authorized", 0)
  end)

  -- nginx runs the next request in the coroutine of one that has ended.
  it("leave nothing behind where the request ended while it waited for one", function()
    local mutex = assert(assert(client:session { ttl = 60 }):mutex "/request/given-up")
    assert(mutex:lock(5))
    for _ = 1, 3 do
      assert.same({ 503, "sorry" }, { web:get "/given-up?name=given-up" })
      assert.same({ 200, "nothing" }, { web:get "/reads" })
      await_places("given-up", 1)
    end
    assert(mutex:unlock(5))
  end)

  it("are forgotten once they are given up, though the request goes on", function()
    local _, n = web:get "/many"
    assert.is_true(tonumber(n) < 150, n)
    await_places("many", 0)
  end)

  it("cannot be taken in log_by_lua, which leaves nothing behind", function()
    for _ = 1, 3 do
      web:get "/refused"
      web:get "/locked?name=after"
      await_places("after", 0)
    end
  end)

  it("of a function in a timer are given up though ngx.exit ends the timer", function()
    for _, by in ipairs { "worker", "mutex" } do
      assert.same({ 200, "1" }, { web:get("/timer?by=" .. by) })
      await_places("timer", 0)
    end
  end)

  it("of a timer are given up when it has ended and nothing refers to them, and kept otherwise", function()
    assert.equal(200, (web:get "/failing-timers"))
    await_places("failing1", 0)
    await_places("failing2", 0)
    assert.equal(1, places "failing3")
  end)

  it("are those of one request of a connection that is kept, and not of the next", function()
    local tcp, text = uv.new_tcp(), ""
    tcp:connect("127.0.0.1", web.port, function()
      tcp:read_start(function(_, data) text = text .. (data or "") end)
      tcp:write "GET /locked?name=kept HTTP/1.1\r\nHost: spec\r\n\r\n"
    end)
    wait.eventually(function() return text:find "locked" end)
    await_places("kept", 0)
    text = ""
    tcp:write "GET /held?name=kept HTTP/1.1\r\nHost: spec\r\n\r\n"
    await_places("kept", 1)
    tcp:close()
    await_places("kept", 0)
  end)

  it("are given up over HTTP/2 as well", function()
    for path, is_ending in pairs { ["/locked?name=h2"] = true, ["/held?name=h2"] = false } do
      local tcp, text = uv.new_tcp(), ""
      tcp:connect("127.0.0.1", h2_port, function()
        tcp:read_start(function(_, data) text = text .. (data or "") end)
        tcp:write(http2_get(path))
      end)
      if is_ending then
        wait.eventually(function() return text:find("locked", 1, true) end)
      else
        await_places("h2", 1)
        -- RST_STREAM: the request is cancelled, and its connection goes on.
        tcp:write "\0\0\4\3\0\0\0\0\1\0\0\0\8"
      end
      await_places("h2", 0)
      tcp:close()
    end
  end)

  it("of a phase of TLS are given up when it has ended, the handshake having failed or not", function()
    local pki, port = pkis.usual(), ports.free()
    local other = nginx.start {
      env = { ENDPOINT = server.endpoint }, workers = 1,
      server = [[ location = /handshakes { content_by_lua_block { ngx.print(n or 0) } } ]],
      http = SHARED .. ([[
        server {
          listen 127.0.0.1:TLS_PORT ssl;
          ssl_certificate CERT;
          ssl_certificate_key KEY;
          ssl_certificate_by_lua_block {
            assert(here:lock("/request/tls", 60))
            n = (n or 0) + 1
            if n == 2 then ngx.exit(ngx.ERROR) elseif n == 3 then error "on purpose" end
          }
          location = / { content_by_lua_block { ngx.print "tls" } }
        }
      ]]):gsub("TLS_PORT", tostring(port)):gsub("CERT", pki:path "server.crt"):gsub("KEY", pki:path "server.key"),
    }
    for n = 1, 4 do
      os.execute(("openssl s_client -connect 127.0.0.1:%d </dev/null >/dev/null 2>&1"):format(port))
      assert.same({ 200, tostring(n) }, { other:get "/handshakes" })
      await_places("tls", 0)
    end
    other:quit()
    tree.remove(pki.folder)
  end)

  it("can be taken again and again: nothing of the requests is left in the worker", function()
    local _, before = web:get "/answered"
    for _ = 1, 200 do
      before = select(2, web:get "/locked?name=again")
    end
    assert.equal("locked", before)
    await_places("again", 0)
  end)
end)
