-- L5: an etcd restored, wiped or rebuilt under living clients is a new beginning: what was of the old one ends with a
-- word, and the new one is served like any other.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local scene = require "live.support.scene"

local TTL = 6

-- A session that holds a lock, a candidate that leads, an observer, a watch and a client that only watches.
local function people(server)
  local all = { client = scene.connect(server.endpoint), terms = 0, lost = {} }
  all.session = assert(all.client:session { ttl = TTL })
  all.mutex = all.session:mutex "/anew/lock"
  assert(all.mutex:lock(5))
  all.candidate = lunarch.candidate {
    client = all.client, election = "/anew/election", name = "A", ttl = TTL,
    on_elected = function() all.terms = all.terms + 1 end,
    do_work = function() return 0.2 end,
    on_lost = function(_, reason) all.lost[#all.lost + 1] = reason end,
  }
  all.run = lunarch.spawn(function() all.candidate:run() end)
  all.told, all.ended = {}, nil
  local observer = all.client:observe "/anew/election"
  lunarch.spawn(function()
    for leader in observer do all.told[#all.told + 1] = leader.value or "nobody" end
  end)
  local watch = scene.connect(server.endpoint):watch("/anew/watched", { prefix = true })
  assert(watch:ready(5))
  lunarch.spawn(function()
    local event, message, code
    repeat event, message, code = watch:next() until not event
    all.ended, all.ended_code = message, code
  end)
  scene.eventually(function() return all.terms == 1 and all.told[#all.told] == "A" end)
  return all
end

local function await_anew(all, server)
  scene.eventually(function() return all.session:state() == "lost" end, 3 * TTL, "the session to be lost")
  assert.equal("replaced", select(2, all.session:state()))
  assert.is_false(all.mutex:is_held())
  scene.eventually(function() return all.terms == 2 end, 5 * TTL, "the candidate to lead again")
  assert.same({ "replaced" }, all.lost)
  scene.eventually(function() return all.ended end, 3 * TTL, "the watch to end")
  assert.equal("compacted", all.ended_code)
  assert.matches("etcd began anew", all.ended)
  scene.eventually(function() return all.told[#all.told] == "A" end, 3 * TTL, "the observer to name the leader")
  local session = assert(all.client:session { ttl = TTL })
  assert(session:mutex("/anew/lock"):lock(3 * TTL))
  -- No flapping: two whole TTLs later all is as it was.
  lunarch.sleep(2 * TTL)
  assert.equal(2, all.terms)
  assert.equal("alive", (session:state()))
  local term_key = server:etcdctl("get", "--prefix", "/anew/election/", "--keys-only")
  assert.matches("/anew/election/%x+", term_key)
  all.candidate:stop()
  scene.join(all.run)
end

describe("an etcd that begins anew", function()
  it("wiped, under the same flags", scene.play(function()
    local server = etcd.start()
    local all = people(server)
    for i = 1, 20 do assert(all.client:put("/anew/watched/it", tostring(i))) end
    server:begin_anew()
    await_anew(all, server)
  end))

  -- A renewal is the first to meet it: "there is no such lease" is said of all leases of the old one.
  it("wiped, for sessions that nobody else says it to", scene.play(function()
    local server = etcd.start()
    local client = scene.connect(server.endpoint)
    local sessions = {}
    for i = 1, 3 do
      sessions[i] = assert(client:session { ttl = TTL })
    end
    for i = 1, 20 do assert(client:put("/anew/alone", tostring(i))) end
    lunarch.sleep(TTL / 3) -- some renewals are confirmed
    server:begin_anew()
    for _, session in ipairs(sessions) do
      scene.eventually(function() return session:state() == "lost" end, 3 * TTL, "the session to be lost")
      assert.equal("replaced", select(2, session:state()))
    end
  end))

  it("restored from a snapshot that has the old leases and keys", scene.play(function()
    local server = etcd.start()
    local all = people(server)
    local snapshot = server:save()
    for i = 1, 20 do assert(all.client:put("/anew/watched/it", tostring(i))) end
    server:begin_anew { snapshot = snapshot }
    await_anew(all, server)
  end))

  it("rebuilt with another cluster id", scene.play(function()
    local server = etcd.start()
    local all = people(server)
    server:begin_anew { token = "another" }
    await_anew(all, server)
  end))
end)
