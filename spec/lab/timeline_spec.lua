-- The timeline: one story, as text for 80 columns and as a picture.
local play = require "lab.play"
local script = require "host.script"
local process = require "support.process"
local timeline = require "lunarch.timeline"
local tree = require "support.tree"

local function event(at, who, what, more)
  local found = { at = at, who = who, what = what, text = what }
  for name, value in pairs(more or {}) do
    found[name] = value
  end
  return found
end

-- A leader that is cut off at 2 s, told to stop at 3.2 s, lost at 3.7 s, replaced after 4 s.
local INSTANTS = { stop_at = 3.2, valid_until = 3.7, expiry = 4 }
local function cut_story()
  local lost = { reason = "expired" }
  for name, value in pairs(INSTANTS) do
    lost[name] = value
  end
  return timeline.story({
    event(0, "A", "elected", { token = 2 }), event(0.1, "B", "renewed"),
    event(2, "A", "fault", { fault = "cut", lane = "A", begins = true }), event(3.2, "A", "lost", lost),
    event(4.3, "B", "elected", { token = 3 }), event(6, nil, "fault", { fault = "all", begins = false }),
  }, { till = 8 })
end

describe("the timeline", function()
  after_each(process.end_all)

  it("shows that a loss comes before another may lead", function()
    local chart = timeline.chart(cut_story())
    local a, b = chart[2]:match "^  A   (.*)", chart[4]:match "^  B   (.*)"
    local stop_at, valid_until, expiry = a:find "S", a:find "V", a:find "X"
    assert.is_true(stop_at < valid_until and valid_until < expiry)
    assert.is_nil(a:sub(stop_at):find("=", 1, true))
    assert.is_true(expiry < b:find("=", 1, true))
    assert.matches("~ cut ~", chart[3])
  end)

  it("shows a paused leader as lost from valid_until on, also where it learns it later", function()
    local lost = { reason = "frozen", stop_at = 3.2, valid_until = 3.7, expiry = 4 }
    local chart = timeline.chart(timeline.story({
      event(0, "A", "elected", { token = 2 }), event(7, "A", "lost", lost),
    }, { till = 8 }))
    local a = chart[2]
    assert.is_nil(a:sub(a:find "V" --[[@as integer]]):find("=", 1, true))
  end)

  it("shows as waiting only what is in the line: not who has lost its session, until it has another", function()
    local lost = { reason = "expired", stop_at = 3.2, valid_until = 3.7, expiry = 4 }
    local chart = timeline.chart(timeline.story({
      event(0, "A", "elected", { token = 2 }), event(0.1, "A", "renewed"), event(3.2, "A", "lost", lost),
      event(6, "A", "renewed"), event(7, "A", "elected", { token = 5 }),
      event(7.5, "A", "lost", { reason = "resigned" }),
    }, { till = 8 }))
    assert.matches("^  A +=+S%.+V%.+X%.* +%-+=+%-+$", chart[2])
  end)

  it("shows who waits by what is seen in the line, also beside what a candidate says itself", function()
    local place = { key = "/e/1" }
    local chart = timeline.chart(timeline.story({
      event(0, "A", "elected", { token = 2, place = place }), event(0.5, "A", "elected", { token = 2 }),
      event(1, "B", "joined", { place = place }), event(2, "C", "joined", { place = place }),
      event(3, "C", "left", { place = place }), event(4, "A", "lost", { place = place }),
      event(4, "B", "elected", { token = 3, place = place }), event(6, "A", "joined"),
    }, { till = 8 }))
    assert.matches("^  A     =+ +%-+$", chart[2])
    assert.matches("^  B      +%-+=+$", chart[3])
    assert.matches("^  C      +%-+$", chart[4])
    assert.truthy(#chart[4] < 40)
  end)

  it("shows names of wide characters, and of none, in their columns and as text of the picture", function()
    local story = timeline.story({
      event(0, ("日本"):rep(9), "elected", { token = 2 }), event(1, "\27[31m\200", "elected", { token = 3 }),
    }, { till = 8 })
    local chart = table.concat(timeline.chart(story), "\n")
    assert.truthy(chart:find("  日本日本日本日+    =", 1, true), chart)
    assert.truthy(chart:find("  \\x1b[31m\\xc8 ", 1, true), chart)
    assert.truthy(utf8.len(timeline.svg(story)))
  end)

  it("has lines of at most 80 columns, whatever happens and however long its names are", function()
    local events = {}
    for i = 1, 40 do
      local name = ("candidate-with-a-long-name-%d"):format(i % 9)
      events[#events + 1] = event(i * 100, name, "elected", { token = i, text = ("x "):rep(90) })
      events[#events + 1] = event(i * 100 + 50, name, "fault", { fault = "pause", lane = name, begins = i % 2 == 0 })
      events[#events + 1] = event(i * 100 + 60, name, "fault", { fault = "revoke", lane = name })
    end
    for _, line in ipairs(timeline.lines(timeline.story(events))) do
      assert.is_true(utf8.len(line) <= 80, line)
    end
  end)

  it("says nothing of members to which nothing happened, and shows those that were broken", function()
    local quiet = { event(0, "m1", "etcd", { etcd_leader = "m1" }), event(1, "A", "elected", { token = 2 }) }
    assert.is_nil(table.concat(timeline.chart(timeline.story(quiet)), "\n"):find("m1", 1, true))
    quiet[3] = event(2, "m2", "fault", { fault = "freeze", lane = "m2", begins = true })
    assert.matches("m2", table.concat(timeline.chart(timeline.story(quiet)), "\n"))
  end)

  it("is a picture of its own for light and dark screens, with the three instants", function()
    local text = timeline.svg(cut_story(), "a title & more")
    assert.matches("prefers%-color%-scheme: dark", text)
    assert.matches("a title &amp; more", text)
    for _, name in ipairs { "stop_at 3.20 s", "valid_until 3.70 s", "expiry 4.00 s" } do
      assert.is_truthy(text:find(name, 1, true), name)
    end
    local x = {}
    for name, at in text:gmatch '<line x1="([%d.]+)"[^>]*class="(%a+_?%a*)"' do
      x[at] = x[at] or tonumber(name)
    end
    assert.is_true(x.stop_at < x.valid_until and x.valid_until < x.expiry)
  end)

  it("draws a history of lunarch sim", function()
    local path = script.write "election, ttl = '/e', 3\nfunction do_work() return 0.5 end\n"
    local output = process.run { "lunarch", "sim", path, "--seeds", "3", "--timeline" }
    assert.matches("\n  A +[-=][-= ]+", output)
    assert.matches("\n  = leads   %- waits", output)
  end)

  it("is written as text and as a picture also where nothing has happened", function()
    local story = timeline.story({}, {})
    assert.same({ "nothing has happened" }, timeline.lines(story))
    assert.matches("</svg>", timeline.svg(story))
  end)

  for _, name in ipairs { "cut", "pause", "crash" } do
    it("examples/lab/" .. name .. ".svg is what the experiment draws", function()
      local path = tree.folder() .. "/drawn.svg"
      play.file(play.folder .. name .. ".lua", "--sim", "--quiet", "--svg", path)
      -- The instants move when the core's renewals do; what is drawn does not.
      local function shape(file) return (tree.read(file):gsub("%d+%.?%d*", "0")) end
      assert.equal(shape(play.folder .. name .. ".svg"), shape(path))
    end)
  end
end)
