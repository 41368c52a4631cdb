-- The same lines as etcd's own tools: `etcdctl lock` and `etcdctl elect` wait for us, and we for them.
local clock = require "support.clock"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local scene = require "live.support.scene"

describe("beside etcdctl", function()
  local server, client, session, line
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    n = n + 1
    line = "/interop/" .. n
  end)

  local function open()
    client = scene.connect(server.endpoint)
    session = assert(client:session { ttl = 60 })
  end

  local function says(tool, text)
    return scene.eventually(function() return tool:find(text) end, nil, ("etcdctl to say '%s'"):format(text))
  end

  -- etcdctl's key, as etcdctl tells it.
  local function key_of(tool) return says(tool, "^" .. line .. "/%x+$").text end

  local function spawn_lock(mutex)
    local one = {}
    one.task = lunarch.spawn(function()
      one.ok, one.token, one.code = mutex:lock()
    end)
    return one
  end

  it("a lock waits for the holder of `etcdctl lock`, and tells who that is", scene.play(function()
    open()
    local tool = server:etcdctl_start("lock", line)
    local key = key_of(tool)
    local mutex = session:mutex(line)
    local ok, message, code = mutex:try_lock()
    assert.is_nil(ok)
    assert.equal("locked", code)
    assert.is_truthy(message:find "locked")
    assert.equal(key, mutex:owner().key)
    local one = spawn_lock(mutex)
    scene.await_line(client, line, 2)
    lunarch.sleep(0.2)
    assert.is_nil(one.ok)
    tool:signal "sigint"
    scene.join(one.task)
    assert.is_true(one.ok)
    assert(mutex:unlock())
  end))

  it("a lock comes free by its TTL when etcdctl is killed with -9", scene.play(function()
    open()
    local tool = server:etcdctl_start("lock", "--ttl=2", line)
    key_of(tool)
    tool:kill9()
    assert(session:mutex(line):lock(scene.LIMIT))
  end))

  it("`etcdctl lock` waits for our lock, and gets it when we unlock", scene.play(function()
    open()
    local mutex = session:mutex(line)
    assert(mutex:lock())
    local tool = server:etcdctl_start("lock", line)
    scene.await_line(client, line, 2)
    lunarch.sleep(0.2)
    assert.is_nil(tool:find "/interop")
    local t = clock.now()
    assert(mutex:unlock())
    key_of(tool)
    assert.is_true(tool:find("^" .. line).t >= t)
    tool:signal "sigint"
  end))

  it("ours and etcdctl's are served in the order of their coming", scene.play(function()
    open()
    local first, third = session:mutex(line), assert(client:session()):mutex(line)
    assert(first:lock())
    local second = server:etcdctl_start("lock", line)
    scene.await_line(client, line, 2)
    local one = spawn_lock(third)
    scene.await_line(client, line, 3)
    local fourth = server:etcdctl_start("lock", line)
    scene.await_line(client, line, 4)
    assert(first:unlock())
    key_of(second)
    lunarch.sleep(0.2)
    assert.is_nil(one.ok)
    second:signal "sigint"
    scene.join(one.task)
    assert.is_true(one.ok)
    assert.is_nil(fourth:find "/interop")
    assert(third:unlock())
    key_of(fourth)
    fourth:signal "sigint"
  end))

  it("a campaign waits for the leader of `etcdctl elect`, and sees what it proclaims", scene.play(function()
    open()
    local tool = server:etcdctl_start("elect", line, "theirs")
    local key = key_of(tool)
    local election = session:election(line)
    local leader = assert(election:leader())
    assert.equal("theirs", leader.value)
    assert.equal(key, leader.key)
    assert.is_false(leader.is_me)
    local told = {}
    local observer = election:observe()
    lunarch.spawn(function()
      for one in observer do
        told[#told + 1] = one.value or "nobody"
      end
    end)
    local term
    local task = lunarch.spawn(function() term = election:campaign "ours" end)
    scene.await_line(client, line, 2)
    lunarch.sleep(0.2)
    assert.is_nil(term)
    tool:signal "sigint"
    scene.join(task)
    assert.is_not_nil(term)
    assert.is_true(term.token > leader.token)
    scene.eventually(function() return told[#told] == "ours" end)
    assert.equal("theirs", told[1])
    observer:close()
  end))

  it("`etcdctl elect -l` listens to our leader, and hears what it proclaims", scene.play(function()
    open()
    local term = assert(session:election(line):campaign "ours")
    local listener = server:etcdctl_start("elect", "-l", line)
    assert.equal(term.key, key_of(listener))
    says(listener, "^ours$")
    assert(term:proclaim "changed")
    says(listener, "^changed$")
    assert(term:resign())
    listener:kill9()
  end))

  it("`etcdctl elect` waits for our leader, and leads when we resign", scene.play(function()
    open()
    local election = session:election(line)
    local term = assert(election:campaign "ours")
    local tool = server:etcdctl_start("elect", line, "theirs")
    scene.await_line(client, line, 2)
    lunarch.sleep(0.2)
    assert.is_nil(tool:find "/interop")
    assert(term:resign())
    local key = key_of(tool)
    local leader = assert(election:leader())
    assert.equal("theirs", leader.value)
    assert.equal(key, leader.key)
    tool:signal "sigint"
  end))
end)
