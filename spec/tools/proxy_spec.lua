local uv = require "luv"
local clock = require "support.clock"
local etcd = require "support.etcd"
local process = require "support.process"
local proxies = require "support.proxy"
local wait = require "support.wait"

-- A server that gives back what it gets, each chunk behind "re:", in this very process: the loop runs while we wait.
local function echo_server()
  local server = uv.new_tcp()
  assert(server:bind("127.0.0.1", 0))
  server:listen(16, function()
    local peer = uv.new_tcp()
    server:accept(peer)
    peer:read_start(function(_, data)
      if data then peer:write("re:" .. data) else peer:close() end
    end)
  end)
  return server, server:getsockname().port
end

local function client(port)
  local self = { socket = uv.new_tcp(), got = "", is_closed = false, is_connected = false, times = {} }
  self.socket:connect("127.0.0.1", port, function(err)
    if err then
      self.is_refused = true
      return
    end
    self.is_connected = true
    self.socket:read_start(function(read_err, data)
      if data then
        self.got = self.got .. data
        self.times[#self.times + 1] = clock.now()
      else
        self.is_closed = true
        self.is_reset = read_err ~= nil
      end
    end)
  end)
  function self.say(text) self.socket:write(text) end
  function self.hears(text)
    wait.eventually(function() return self.got == text end, nil, ("'%s' (got '%s')"):format(text, self.got))
  end
  wait.eventually(function() return self.is_connected or self.is_refused end)
  return self
end

describe("the proxy", function()
  local server, proxy, clients
  local function dial()
    local new = client(proxy.port)
    clients[#clients + 1] = new
    return new
  end

  before_each(function()
    local port
    server, port = echo_server()
    proxy = proxies.start(port)
    clients = {}
  end)
  after_each(function()
    for _, each in ipairs(clients) do
      each.socket:close()
    end
    proxy:stop()
    server:close()
    uv.run "nowait"
  end)

  it("lets everything through", function()
    local c = dial()
    local said_at = clock.now()
    c.say "a"
    c.hears "re:a"
    assert.equal(1, proxy:connections())
    local requests, replies = proxy:chunks()
    assert.equal(1, requests)
    assert.equal(1, replies)
    assert.is_true(said_at <= proxy:last_request() and proxy:last_request() <= proxy:last_reply())
    assert.is_true(proxy:last_reply() <= clock.now())
  end)

  it("goes silent both ways with connections open, and heals with nothing lost", function()
    local c = dial()
    c.say "a"
    c.hears "re:a"
    local before = proxy:last_request()
    proxy:go_silent()
    c.say "b"
    wait.holds(function() return c.got == "re:a" and not c.is_closed end, 0.2)
    assert.equal(before, proxy:last_request())
    local healed_at = clock.now()
    proxy:heal()
    c.hears "re:are:b"
    assert.is_true(proxy:last_request() >= healed_at)
  end)

  it("lets newcomers hang while it is silent", function()
    proxy:go_silent()
    local c = dial()
    c.say "a"
    wait.holds(function() return c.got == "" and not c.is_closed end, 0.1)
    proxy:heal()
    c.hears "re:a"
  end)

  it("holds replies only", function()
    local c = dial()
    proxy:hold_replies()
    c.say "a"
    wait.eventually(function() return proxy:chunks() == 1 end)
    wait.holds(function() return c.got == "" end, 0.1)
    proxy:heal()
    c.hears "re:a"
  end)

  it("holds requests only", function()
    local c = dial()
    c.say "a"
    c.hears "re:a"
    proxy:hold_requests()
    c.say "b"
    wait.holds(function() return proxy:chunks() == 1 end, 0.1)
    proxy:heal()
    c.hears "re:are:b"
  end)

  it("swallows replies while requests go through, and closes what has a hole when it heals", function()
    local c = dial()
    proxy:drop_replies()
    c.say "a"
    wait.eventually(function() return proxy:chunks() == 1 end)
    wait.holds(function() return c.got == "" and not c.is_closed end, 0.1)
    proxy:heal()
    wait.eventually(function() return c.is_closed end)
    assert.equal("", c.got)
    local d = dial()
    d.say "b"
    d.hears "re:b"
  end)

  it("delays each chunk, in order", function()
    local c = dial()
    proxy:delay_replies(0.2)
    local sent_at = clock.now()
    c.say "a"
    wait.pass(0.05)
    c.say "b"
    c.hears "re:are:b"
    assert.is_true(c.times[1] - sent_at >= 0.2)
    assert.is_true(c.times[#c.times] - sent_at >= 0.25)
    proxy:delay_replies(100 * wait.LIMIT)
    proxy:delay_replies(0)
    c.say "c"
    c.hears "re:are:bre:c"
  end)

  it("delays at random between two bounds, and still in order", function()
    local c = dial()
    proxy:delay_replies(0, 0.2)
    for digit = 0, 9 do
      c.say(tostring(digit))
      wait.pass(0.01)
    end
    -- TCP may join two chunks into one.
    wait.eventually(function() return c.got:gsub("re:", "") == "0123456789" end)
  end)

  it("keeps delayed replies back when it goes silent", function()
    local c = dial()
    proxy:delay_replies(0.1)
    c.say "a"
    wait.eventually(function() return proxy:chunks() == 1 end)
    proxy:go_silent()
    wait.holds(function() return c.got == "" end, 0.3)
    proxy:heal()
    c.hears "re:a"
  end)

  it("refuses newcomers, and takes them again on the same port", function()
    local old = dial()
    proxy:refuse()
    assert.is_true(dial().is_refused)
    old.say "a"
    old.hears "re:a"
    proxy:accept()
    local new = dial()
    new.say "b"
    new.hears "re:b"
  end)

  it("cuts all connections by a reset, and welcomes new ones", function()
    local c = dial()
    c.say "a"
    c.hears "re:a"
    assert.equal(1, proxy:cut())
    wait.eventually(function() return c.is_closed end)
    assert.is_true(c.is_reset)
    local d = dial()
    d.say "b"
    d.hears "re:b"
  end)

  it("can be driven from a callback of libuv", function()
    local timer, count = uv.new_timer(), nil
    timer:start(1, 0, function()
      timer:close()
      count = proxy:connections()
    end)
    wait.eventually(function() return count end)
    assert.equal(0, count)
  end)

  it("says so when it is dead", function()
    process.kill9(proxy.pid)
    local ok, err = pcall(proxy.heal, proxy)
    assert.is_false(ok)
    assert.truthy(err)
    proxy.pid = nil
  end)
end)

describe("the proxy before an etcd", function()
  local server, proxy
  setup(function()
    server = etcd.start()
    proxy = proxies.start(server.client_port)
  end)
  teardown(function()
    proxy:stop()
    server:stop()
  end)

  it("recognises renewals and the lease they renew", function()
    local lease = "1a2b3c4d5e6f7a8b"
    local asked_at = clock.now()
    -- etcdctl cannot choose an id, but renewing an unknown one is a renewal on the wire all the same.
    local p = process.start {
      os.getenv "ETCDCTL", "--endpoints=" .. proxy.endpoint, "lease", "keep-alive", lease, "--once",
    }
    p:wait_exit()
    local renewals = wait.eventually(function()
      local found = proxy:renewals(lease)
      return found[1] and found
    end)
    assert.equal(1, #renewals)
    assert.is_true(asked_at <= renewals[1].t and renewals[1].t <= clock.now())
    server:etcdctl("--endpoints=" .. proxy.endpoint, "lease", "revoke", lease)
    server:etcdctl("--endpoints=" .. proxy.endpoint, "lease", "timetolive", lease)
    assert.equal(1, #proxy:renewals())
  end)

  it("loses an answer whose request was carried out", function()
    local p = process.start {
      os.getenv "ETCDCTL", "--endpoints=" .. proxy.endpoint, "lock", "/held",
    }
    p:wait_line "^/held/"
    proxy:drop_replies()
    p:signal "sigterm"
    wait.eventually(function() return (server:etcdctl("get", "/held/", "--prefix")) == "" end)
    p:kill9()
    proxy:heal()
  end)
end)
