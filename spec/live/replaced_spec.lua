-- Members that are added or replaced are learnt from the cluster's list, so that a cluster all of whose first members
-- are gone is served.
-- limit: 480 s
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local scene = require "live.support.scene"

-- A session outlives the replacement of etcd's leader.
local TTL_S = 15
-- The list is read within seconds after a member failed, each new one is proven a second later.
local LEARNT_S = 120

local function connect(endpoints, options)
  local all = { endpoints = endpoints }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return assert(lunarch.connect(all))
end

local function learnt_by(client)
  local found = {}
  for _, member in ipairs(assert(client:members())) do
    if member.is_learnt then found[member.endpoint] = true end
  end
  return found
end

-- "https://" is not part of what client:members() shows.
local function address_of(member) return (member.endpoint:gsub("^https?://", "")) end

local function await_learnt(client, member)
  scene.eventually(function() return learnt_by(client)[address_of(member)] end, LEARNT_S,
    "the member at " .. member.endpoint .. " to be learnt")
end

describe("a member that is not among the endpoints given", function()
  local cluster

  before_each(function() cluster = etcd.cluster(3) end)
  after_each(function() cluster:stop() end)

  it("replaces one that was, until all are gone: a leader stays one, and who waits for it wins", scene.play(function()
    local given = { table.unpack(cluster.endpoints) }
    local leading, waiting = connect(given), connect(given)
    local leader = assert(assert(leading:session { ttl = TTL_S }):election("/replaced"):campaign "first")
    local queue = assert(waiting:session { ttl = TTL_S }):election("/replaced")
    local waiter = lunarch.spawn(function() return assert(queue:campaign "second") end)
    for i = 1, 3 do
      local new = cluster:replace(i)
      await_learnt(leading, new)
      await_learnt(waiting, new)
      assert.is_true(leader:remaining() > 0)
      assert(leader:put("/replaced-work", tostring(i)))
    end
    assert.equal("3", assert(waiting:get "/replaced-work"))
    assert(leader:resign())
    local term = scene.join(waiter)
    assert.is_true(term:remaining() > 0)
    assert.is_true(term.token > leader.token)
    leading:close(2)
    waiting:close(2)
  end))

  it("is learnt by a client that was given one of them, and not where only the given ones are wanted",
    scene.play(function()
      local client = connect { cluster.endpoints[1] }
      local confined = connect({ cluster.endpoints[1] }, { only_given_endpoints = true })
      assert(client:put("/learnt", "x"))
      assert(confined:put("/learnt", "x"))
      await_learnt(client, cluster.members[2])
      await_learnt(client, cluster.members[3])
      assert.is_nil(learnt_by(client)[address_of(cluster.members[1])])
      assert.same({}, learnt_by(confined))
      client:close(2)
      confined:close(2)
    end))
end)

describe("members that cannot be reached where the list has them", function()
  it("are not used, and no call waits for them", scene.play(function()
    local cluster = etcd.cluster(3, { flags = { "--advertise-client-urls", "http://nowhere.invalid:2379" } })
    local client = connect { cluster.endpoints[1] }
    for i = 1, 30 do
      assert(client:put("/unreachable", tostring(i)))
      lunarch.sleep(0.1)
    end
    assert.equal(1, #assert(client:members()))
    assert.equal(0, client:stats().retries)
    client:close(2)
    cluster:stop()
  end))
end)
