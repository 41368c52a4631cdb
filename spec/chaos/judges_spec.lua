-- Those who judge a chaos run, against journals written by hand: a checker that cannot fail is none.
local journals = require "chaos.journals"
local losses = require "chaos.losses"
local overlap = require "chaos.overlap"
local sets = require "chaos.sets"
local verdict = require "chaos.verdict"

local function history(...)
  local versions = {}
  for i, text in ipairs { ... } do
    versions[i] = sets.parse(text)
  end
  return versions
end

local function insertion(id) return { id = id, who = "A", t = 1, token = 1 } end

local function law(judged, what)
  for _, one in ipairs(judged.laws) do
    if one.what:find(what, 1, true) then return one.troubles end
  end
  error("there is no law '" .. what .. "'")
end

describe("the finder of overlaps", function()
  local function span(who, token, from, to) return { who = who, token = token, from = from, to = to } end

  it("finds nothing where one follows the other", function()
    assert.same({}, overlap.find { span("B", 2, 3, 4), span("A", 1, 1, 3), span("A", 3, 4, 9) })
  end)

  it("finds two at once, who and for how long", function()
    local found = overlap.find { span("B", 2, 2.5, 4), span("A", 1, 1, 3) }
    assert.equal(1, #found)
    assert.equal("A", found[1].a.who)
    assert.equal("B", found[1].b.who)
    assert.near(0.5, found[1].to - found[1].from, 1e-9)
  end)

  it("finds one that lasts beneath several others", function()
    assert.equal(3, #overlap.find { span("A", 1, 0, 10), span("B", 2, 1, 2), span("C", 3, 3, 4), span("D", 4, 9, 12) })
  end)

  it("takes two spans of one candidate's different terms for two owners", function()
    assert.equal(1, #overlap.find { span("A", 1, 0, 2), span("A", 2, 1, 3) })
  end)

  it("takes the parts of one term for one owner", function()
    assert.same({}, overlap.find { span("A", 1, 0, 2), span("A", 1, 1, 3) })
  end)
end)

describe("a term's spans", function()
  local function spans_of(term, stops, more)
    local life = journals.life("A", journals.term(term), more)
    local outcome = journals.outcome { life }
    return overlap.spans_of(outcome.terms[1], stops or {}, outcome.over)
  end

  it("reach until on_lost returned", function()
    local spans = spans_of { token = 7, elected = 1, losing = 2, lost = 3 }
    assert.same({ { who = "A", token = 7, from = 1, to = 3 } }, spans)
  end)

  it("reach until its process died, and without an end until the records do", function()
    assert.equal(5, spans_of({ token = 7, elected = 1 }, {}, { ended = 5 })[1].to)
    assert.equal(62, spans_of({ token = 7, elected = 1 })[1].to)
  end)

  it("go on over a stop that it outlived", function()
    local spans, told_s = spans_of({ token = 7, elected = 1, losing = 8, lost = 8.1 }, { { from = 2, to = 3 } })
    assert.equal(1, #spans)
    assert.is_nil(told_s)
  end)

  it("end with the stop in which it ran out, if it was told at once", function()
    local spans, told_s = spans_of({ token = 7, elected = 1, losing = 9.002, lost = 9.03 }, { { from = 2, to = 9 } })
    assert.same({ { who = "A", token = 7, from = 1, to = 2 } }, spans)
    assert.near(0.002, told_s, 1e-6)
  end)

  it("go on where it was told late", function()
    assert.equal(9.7, spans_of({ token = 7, elected = 1, losing = 9.6, lost = 9.7 }, { { from = 2, to = 9 } })[1].to)
  end)

  it("count what it did as an owner after the stop: an answer of 'still ours', a do_work begun", function()
    local stops = { { from = 2, to = 9 } }
    local claimed = spans_of({ token = 7, elected = 1, claims = { 1.5, 9.001 }, losing = 9.1, lost = 9.2 }, stops)
    assert.equal(9.001, claimed[2].to)
    local worked = spans_of({ token = 7, elected = 1, works = { { 9.01, 9.05 } }, losing = 9.1, lost = 9.2 }, stops)
    assert.equal(9.05, worked[2].to)
  end)
end)

describe("the finder of lost writes", function()
  it("finds nothing where each has built on the one before", function()
    local written = history("a - 1", "b a 2", "c b 3")
    assert.same({}, losses.find(written, { insertion "a", insertion "b", insertion "c" }))
  end)

  it("finds the insertion that was overwritten, and by whom", function()
    local written = history("a - 1", "b a 2", "c a 1", "d c 3")
    local lost = losses.find(written, { insertion "a", insertion "b", insertion "d" })
    assert.equal(1, #lost)
    assert.equal("b", lost[1].insertion.id)
    assert.equal("c", lost[1].by)
  end)

  it("finds all that one stale write has undone", function()
    assert.equal(3, #losses.find(history("a - 1", "b a 2", "c b 3", "d c 4", "x a 1"), {
      insertion "b", insertion "c", insertion "d",
    }))
  end)

  it("finds the insertion that was acknowledged and never written", function()
    local lost = losses.find(history "a - 1", { insertion "a", insertion "b" })
    assert.equal("b", lost[1].insertion.id)
    assert.is_nil(lost[1].by)
    assert.equal(1, #losses.find({}, { insertion "a" }))
  end)

  it("does not mourn what was never acknowledged", function()
    assert.same({}, losses.find(history("a - 1", "b a 2", "c a 1"), { insertion "a", insertion "c" }))
  end)

  it("ends where a history turns in a circle", function()
    assert.equal(1, #losses.find(history("a b 1", "b a 2"), { insertion "a", insertion "b", insertion "c" }))
  end)

  it("tells of a write carried out twice, and of one by a stale owner", function()
    assert.same({}, losses.disorder(history("a - 1", "b a 1", "c b 4")))
    assert.same({ "a was written twice" }, losses.disorder(history("a - 1", "a - 1")))
    assert.same({ "c, of token 1, was written after a write of token 2" },
      losses.disorder(history("a - 1", "b a 2", "c b 1")))
  end)
end)

describe("a ledger", function()
  it("takes in what is said while it reads", function()
    local told = journals.term { token = 10, elected = 1, claims = { 1.1, 1.2 }, lost = 2 }
    local lines, n_looks = {}, 0
    -- All of it is said between the first look and the second.
    local process = {
      lines = function()
        n_looks = n_looks + 1
        if n_looks == 2 then
          for i, text in ipairs(told) do lines[i] = { t = i, from = "out", text = text } end
        end
        return lines
      end,
    }
    local ledger = require "chaos.ledger".follow("A", process)
    ledger:update()
    ledger:update()
    assert.same({ 1.1, 1.2 }, ledger.journal.terms[1].claims)
    assert.equal(2, ledger.journal.terms[1].lost)
  end)

  it("knows a term by the key it stands under, its suffix too", function()
    local told = journals.term { token = 10, place = "00ab-00cd", elected = 1, claims = { 1.1 }, lost = 2 }
    local term = journals.life("A", told).ledger.journal.terms[1]
    assert.equal(sets.ELECTION .. "/00ab-00cd", term.key)
    assert.equal("00ab", term.lease)
    assert.same({ 1.1 }, term.claims)
    assert.equal(2, term.lost)
  end)
end)

describe("the verdict on a run", function()
  -- A leads, then B does; each inserts one into every set, in order.
  local function good_run(change)
    local a = journals.term { token = 10, elected = 1, works = { { 1.1, 1.2 } }, claims = { 1.1 }, lost = 5.1 }
    local b = journals.term { token = 20, elected = 6, works = { { 6.1, 6.2 } }, claims = { 6.1 }, lost = 9.1 }
    local histories = {}
    for i, set in ipairs(sets.list) do
      local at = i / 100
      table.insert(a, ("set locked %.2f %s 10"):format(1 + at, set.name))
      table.insert(a, ("set acked %.2f %s 10 A1.%d"):format(2 + at, set.name, i))
      table.insert(a, ("set claim %.2f %s 10"):format(2 + at, set.name))
      table.insert(b, ("set locked %.2f %s 20"):format(6 + at, set.name))
      table.insert(b, ("set acked %.2f %s 20 B1.%d"):format(7 + at, set.name, i))
      table.insert(b, ("set claim %.2f %s 20"):format(7 + at, set.name))
      histories[set.name] = history(("A1.%d - 10"):format(i), ("B1.%d A1.%d 20"):format(i, i))
    end
    local more = { histories = histories }
    if change then change(a, b, more) end
    return verdict.of(journals.outcome({ journals.life("A", a), journals.life("B", b) }, more))
  end

  it("is good where all is", function()
    local judged = good_run()
    for _, one in ipairs(judged.laws) do
      assert.same({}, one.troubles)
    end
    assert.is_true(judged.is_fine)
    assert.equal(2, #judged.spans)
  end)

  it("is bad for two terms at once", function()
    local judged = good_run(function(a)
      for i, line in ipairs(a) do
        a[i] = line:gsub("^lost 5.1", "lost 6.25")
      end
    end)
    assert.is_false(judged.is_fine)
    assert.same({ "A (token 10) and B (token 20) for 250.0 ms" }, law(judged, "two terms"))
    assert.equal(1, #judged.overlaps)
  end)

  it("lays an overlap to etcd only where etcd gave a living place away, and for a moment", function()
    local function judge(change)
      return good_run(function(a, b, more)
        for i, line in ipairs(a) do
          a[i] = line:gsub("^lost 5.1", "lost 6.02"):gsub("^losing 5.1(.*)expired", "losing 6.0%1key_deleted")
        end
        table.insert(a, "lease /chaos/leader 10 gone")
        more.ttl = 6
        more.faults = {
          { track = "members", kind = "stop", lanes = { "m1" }, from = 1, to = 4, has_stopped_leader = true },
        }
        change(a, b, more)
      end)
    end
    local excused = judge(function() end)
    for _, one in ipairs(excused.laws) do assert.same({}, one.troubles) end
    assert.is_true(excused.is_fine)
    assert.equal(1, #excused.handed_on)
    assert.equal(1, excused.revoked.terms)
    assert.equal(0, excused.n_at_work)
    local still_claiming = judge(function(a) table.insert(a, #a, "claim 6.01 /chaos/leader 10") end)
    assert.is_true(still_claiming.is_fine)
    assert.equal(1, still_claiming.n_at_work)
    for what, change in pairs {
      ["the lease lived on"] = function(a) a[#a] = "lease /chaos/leader 10 there" end,
      ["nobody asked for the lease"] = function(a) a[#a] = nil end,
      ["an etcd nobody knows"] = function(_, _, more) more.etcd_version = "unknown" end,
      ["an etcd that does so at once or not at all"] = function(_, _, more) more.etcd_version = "3.5.13" end,
      ["no leader of etcd was stopped"] = function(_, _, more) more.faults[1].has_stopped_leader = false end,
      ["it went on long before"] = function(_, _, more) more.faults[1].to = -3 end,
      ["it went on only afterwards"] = function(_, _, more) more.faults[1].to = 6.5 end,
      ["told too late"] = function(a)
        for i, line in ipairs(a) do a[i] = line:gsub("^lost 6.02", "lost 7.50") end
      end,
      ["its last renewal was too long ago"] = function(_, _, more) more.ttl = 1 end,
    } do
      local judged = judge(change)
      assert.is_false(judged.is_fine, what)
      assert.equal(1, #law(judged, "two terms"), what)
    end
  end)

  it("lays a mutex held by two to etcd in the same way", function()
    local function judge(last, version, thawed)
      return good_run(function(a, _, more)
        table.insert(a, "set claim 6.50 fenced 10")
        for _, line in ipairs(last) do table.insert(a, line) end
        more.etcd_version = version
        more.faults = {
          { track = "members", kind = "stop", lanes = { "m1" }, from = 1, to = thawed or 4, has_stopped_leader = true },
        }
      end)
    end
    local excused = judge({ "set gone 6.60 fenced 10", "lease fenced 10 gone" }, "3.4.23")
    assert.is_true(excused.is_fine)
    assert.equal(1, excused.revoked.holds)
    assert.is_false(judge({ "set gone 6.60 fenced 10", "lease fenced 10 there" }, "3.4.23").is_fine)
    assert.is_false(judge({ "set freed 6.60 fenced 10" }, "3.4.23").is_fine)
    assert.is_true(judge({ "set gone 6.60 fenced 10", "lease fenced 10 gone" }, "3.4.23", -1).is_fine)
    assert.is_false(judge({ "set gone 6.60 fenced 10", "lease fenced 10 gone" }, "3.5.13", -1).is_fine)
    assert.is_false(judge({ "set gone 6.60 fenced 10", "lease fenced 10 gone" }, "unknown").is_fine)
  end)

  it("knows which versions of etcd do that, and for how long", function()
    local revocation = require "chaos.revocation"
    for version, seconds in pairs {
      ["3.3.27"] = 8.5, ["3.4.23"] = 8.5, ["3.4.30"] = 8.5, ["3.4.31"] = 1, ["3.5.12"] = 8.5, ["3.5.13"] = 1,
      ["3.6.0"] = 1, ["unknown"] = 0,
    } do
      assert.equal(seconds, revocation.window_s(version), version)
    end
  end)

  it("is bad for a mutex held by two", function()
    local judged = good_run(function(a) table.insert(a, "set claim 6.50 fenced 10") end)
    assert.is_false(judged.is_fine)
    assert.equal(1, #law(judged, "held by two"))
  end)

  it("is bad for a guarded insertion lost", function()
    for i, set in ipairs(sets.list) do
      local judged = good_run(function(_, _, more)
        more.histories[set.name] = history(("A1.%d - 10"):format(i), ("B1.%d - 20"):format(i))
      end)
      assert.equal(not set.guarded, judged.is_fine, set.name)
      assert.equal(1, #judged.losses[set.name])
      assert.equal(set.guarded and 1 or 0, #law(judged, "write lost"))
    end
  end)

  it("is bad for a guarded write that came after its successor's", function()
    local judged = good_run(function(_, _, more)
      table.insert(more.histories.term, sets.parse "A1.99 B1.1 10")
    end)
    assert.is_false(judged.is_fine)
    assert.same({ "term: A1.99, of token 10, was written after a write of token 20" }, law(judged, "stale owner"))
  end)

  it("is bad for handlers out of order, and for tokens that fall", function()
    local judged = good_run(function(a) table.insert(a, "work 5.05 /chaos/leader 00ab 10 ") end)
    assert.same({ "term 10 of A: do_work began after on_lost" }, law(judged, "handlers in order"))
    local fallen = journals.outcome {
      journals.life("A", journals.term { token = 10, elected = 7, lost = 8 }),
      journals.life("B", journals.term { token = 20, elected = 1, lost = 2 }),
    }
    assert.equal(1, #law(verdict.of(fallen), "handlers in order"))
  end)

  it("is bad for somebody who did not come back, and for a run without work", function()
    local judged = good_run(function(_, _, more) more.complaints = { "C was not back" } end)
    assert.is_false(judged.is_fine)
    assert.same({ "C was not back" }, law(judged, "back in line"))
    assert.is_false(verdict.of(journals.outcome {}).is_fine)
  end)
end)
