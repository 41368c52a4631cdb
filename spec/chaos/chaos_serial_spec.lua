-- ./dev chaos as a whole: real members and candidates, for twenty seconds; and what it does when it is interrupted.
-- limit: 240 s
local json = require "cjson"
local process = require "support.process"
local sets = require "chaos.sets"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local SETTLE_S = 100
-- In its first twenty seconds candidates and members are hit in seven ways, and no leader of etcd is stopped: what etcd
-- 3.4 does after that (revocation.lua) is no part of a suite.
local SEED = 40

local function start(words)
  local command = { "lua5.4", tree.root .. "/spec/chaos/chaos.lua" }
  table.move(words, 1, #words, 3, command)
  return process.start(command)
end

local function texts(one, from)
  local found = {}
  for _, line in ipairs(one:lines()) do
    if line.from == from then found[#found + 1] = line.text end
  end
  return table.concat(found, "\n")
end

-- Processes that know of this run by its folder, or by the candidates' election.
local function left_behind(pid)
  local mark, found = "lunarch-run-" .. pid, {}
  local scan = uv.fs_scandir "/proc"
  while true do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local is_marked = name:match "^%d+$" and tree.read("/proc/" .. name .. "/environ"):find(mark, 1, true)
    if is_marked and process.is_running(tonumber(name)) then
      found[#found + 1] = tree.read("/proc/" .. name .. "/cmdline"):gsub("%z", " ")
    end
  end
  for _, folder in ipairs { "/dev/shm/", "/tmp/" } do
    if uv.fs_stat(folder .. mark) then found[#found + 1] = folder .. mark end
  end
  return found
end

describe("./dev chaos", function()
  after_each(process.end_all)

  it("shows in twenty seconds that nothing overlaps or is lost, and that everybody comes back", function()
    local folder = tree.folder()
    local one = start { "0.34", "--seed=" .. SEED, "--json", "--out", folder }
    local status = one:wait_exit(20.4 + SETTLE_S)
    assert.equal(0, status, one:output())
    local result = json.decode(texts(one, "out"))
    assert.is_true(result.fine)
    for _, law in ipairs(result.laws) do
      assert.same({}, law.troubles)
    end
    assert.equal(SEED, result.seed)
    assert.same({ 0, 0 }, { result.revoked_by_etcd.terms, result.handed_on_by_etcd })
    assert.is_true(#result.faults >= 4 and result.counts.terms >= 1)
    assert.equal(#sets.list, #result.sets)
    local names = {}
    for name in pairs(result.back) do names[#names + 1] = name end
    assert.equal(5, #names)
    assert.is_truthy(texts(one, "err"):find("leads etcd", 1, true))
    assert.is_truthy(tree.read(folder .. "/timeline.svg"):find("</svg>", 1, true))
    assert.is_truthy(tree.read(folder .. "/report.txt"):find("no two terms at once", 1, true))
    assert.is_truthy(tree.read(folder .. "/journals/A1.log"):find("out pid", 1, true))
    assert.same({}, left_behind(one.pid))
  end)

  it("ends what it has started when interrupted, and reports all the same", function()
    local folder = tree.folder()
    local one = start { "5", "--seed", "3", "--out", folder }
    one:wait_line("leads etcd", 60)
    one:signal "sigint"
    assert.equal(130, (one:wait_exit(60)), one:output())
    assert.is_truthy(one:output():find("(interrupted), TTL 3 s, seed 3: all that must hold has held", 1, true))
    assert.is_truthy(tree.read(folder .. "/timeline.svg"):find("</svg>", 1, true))
    assert.same({}, left_behind(one.pid))
  end)

  it("leaves no process behind when it is killed", function()
    local one = start { "5" }
    one:wait_line("leads etcd", 60)
    assert.is_true(#left_behind(one.pid) > 20)
    one:kill9()
    wait.eventually(function() return #left_behind(one.pid) <= 1 end, nil, "all processes to end")
    tree.remove(left_behind(one.pid)[1])
  end)

  it("says what is wrong with its words", function()
    local output, status = process.run { "lua5.4", tree.root .. "/spec/chaos/chaos.lua", "soon" }
    assert.equal(2, status)
    assert.equal("chaos: 'soon' is no number of minutes between 0 and 1440\n", output)
  end)
end)
