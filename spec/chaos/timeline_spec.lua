-- The picture of a chaos run, from journals written by hand.
local journals = require "chaos.journals"
local sets = require "chaos.sets"
local svg = require "lunarch.timeline.drawing"
local timeline = require "chaos.timeline"
local verdict = require "chaos.verdict"

local RED = "#d90429"

-- Every element is closed, and only by its own name.
local function check_tags(text)
  local open = {}
  for slash, name, rest in text:gmatch "<(/?)([%a]+)([^<>]*)>" do
    if slash == "/" then
      assert.equal(name, table.remove(open))
    elseif rest:sub(-1) ~= "/" then
      open[#open + 1] = name
    end
  end
  assert.same({}, open)
end

local function count(text, part)
  local n, from = 0, 1
  while true do
    local first, last = text:find(part, from, true)
    if not first then return n end
    n, from = n + 1, last + 1
  end
end

local function draw(a, b, more)
  local outcome = journals.outcome({ journals.life("A", a), journals.life("B", b, { stops = more.stops }) }, more)
  return timeline.svg(outcome, verdict.of(outcome))
end

describe("the picture of a chaos run", function()
  local a = journals.term { token = 10, elected = 1, losing = 5, lost = 5.1 }
  local b = journals.term { token = 20, elected = 6, losing = 55, lost = 55.1 }

  it("is whole, with terms, faults and no red where nothing was wrong", function()
    local text = draw(a, b, {
      faults = {
        { track = "candidates", kind = "stop", lanes = { "B" }, from = 20, to = 21 },
        { track = "candidates", kind = "kill", lanes = { "C" }, from = 30, to = 31 },
        { track = "members", kind = "majority", lanes = { "m1", "m2" }, from = 40, to = 41 },
        { track = "members", kind = "move", lanes = { "m1" }, from = 42, to = 43 },
      },
      stops = { { from = 20, to = 21 } },
    })
    check_tags(text)
    assert.is_truthy(text:find("A, token 10: 1.00 s to 5.10 s", 1, true))
    assert.is_truthy(text:find("m2: majority, 40.00 s to 41.00 s", 1, true))
    assert.equal(0, count(text, 'class="overlap"'))
    assert.is_truthy(text:find("0 overlaps, 0 guarded insertions lost", 1, true))
  end)

  it("shows overlaps and losses in red, and unguarded losses not", function()
    local late = journals.term { token = 10, elected = 1, losing = 7, lost = 7.5 }
    table.insert(late, "set acked 3.0 term 10 A1.1")
    table.insert(late, "set acked 3.5 bare 10 A1.2")
    local red_before = count(draw(a, b, {}), RED)
    local text = draw(late, b, {
      histories = { term = {}, fenced = {}, checked = {}, bare = { sets.parse "A1.2 - 10", sets.parse "B1.1 - 20" } },
    })
    check_tags(text)
    assert.equal(1, count(text, 'class="overlap"'))
    assert.is_truthy(text:find("overlap: A and B for 1500.0 ms", 1, true))
    assert.is_truthy(text:find("term: A1.1 was acknowledged to A and lost", 1, true))
    assert.is_truthy(text:find("bare: A1.2 was acknowledged to A and lost", 1, true))
    -- The overlap, and the guarded loss, filled and outlined.
    assert.equal(red_before + 3, count(text, RED))
  end)

  it("is folded into bands, on which a long term goes on", function()
    local long = journals.term { token = 10, elected = 10, losing = 200, lost = 201 }
    local text = draw(long, {}, { ended = 230, over = 239 })
    check_tags(text)
    -- One is the legend's.
    assert.equal(1 + 4, count(text, 'height="11" fill="#2a9d8f"'))
  end)

  it("escapes what it is told", function()
    assert.equal("&lt;a &amp; &quot;b&quot;&gt;", svg.escape '<a & "b">')
  end)
end)
