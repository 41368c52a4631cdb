-- No assertion depends on how fast or how idle a machine is. This finds the kind: upper bounds of what a clock has
-- measured, CPU time, and limits of waiting other than the one of wait.lua. What only looks like it bears the word
-- `timing:` and the reason, on its line or the one before. Where figures are the matter (bench, soak, chaos), they are
-- reported.
local tree = require "support.tree"
local uv = require "luv"

local FIGURES = {
  "^bench/", "^soak/", "^chaos/", "^nginx/support/heavy", "^nginx/support/report", "^tools/timing_spec",
}

local LUA = {
  ["CPU time"] = { "os%.clock", "getrusage", "/stat\"[^\n]*utime" },
  ["an upper bound of elapsed time"] = {
    "now%(%)%s*%-[^<>=,]*<", "hrtime%(%)%s*%-[^<>=,]*<", "near%(.*now%(%)",
    "assert.*%f[%w_]took[%w_]*%s*<", "assert.*%f[%w_]elapsed[%w_]*%s*<", "assert.*%f[%w_]waited[%w_]*%s*<",
    "assert.*%f[%w_]longest[%w_]*%s*<", "assert.*%f[%w_]slowest[%w_]*%s*<", "assert.*%f[%w_]median[%w_]*%s*<",
    "assert.*%f[%w_]late[%w_]*%s*<", "assert.*delays?%b[]%s*<", "assert.*%.t%s*%-[^<>=,]*<",
  },
  ["a limit of its own"] = {
    "eventually%([%w_.]+,%s*%d", "eventually%(.*%f[%w_]end,%s*%d[%d.]*%s*[,)]", "^%s*end, %d+%)$",
    "wait_exit%([%d.]+%)", ":wait_line%b()", "wait_gone%([^)]*,%s*%d",
  },
}
local C = {
  ["CPU time"] = { "getrusage", "CLOCK_PROCESS_CPUTIME", "CLOCK_THREAD_CPUTIME", "%f[%w_]clock%(%)" },
  ["an upper bound of elapsed time"] = {
    "CHECK.*_ns%(%)%s*%-[^<>=]*<", "CHECK.*%f[%w_]late_ns%s*<", "CHECK.*%f[%w_]took[%w_]*%s*<", "CHECK.*%f[%w_]ms%s*<",
    "CHECK.*%f[%w_]late%s*<",
  },
}

local function is_figure(path)
  for _, pattern in ipairs(FIGURES) do
    if path:find(pattern) then return true end
  end
end

-- wait_line may have a limit of its own only where the line is not to come.
local function is_found(line, pattern)
  local found = line:match(pattern)
  return found and (pattern ~= ":wait_line%b()" or found:find ",%s*%d[%d.]*%)$" ~= nil)
end

-- What is wrong with a text, as "line: what: text".
local function troubles_of(text, kinds)
  local found, before, number = {}, "", 0
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    for what, patterns in pairs(kinds) do
      for _, pattern in ipairs(patterns) do
        -- The one limit is no bound of a machine's speed.
        local is_excused = (before .. line):find("timing: ", 1, true) or line:find("wait.LIMIT", 1, true)
        if is_found(line, pattern) and not is_excused then
          found[#found + 1] = ("%d: %s: %s"):format(number, what, line:match "^%s*(.-)$")
          break
        end
      end
    end
    before = line
  end
  return found
end

local function walk(folder, visit)
  local scan = uv.fs_scandir(tree.root .. "/spec/" .. folder)
  for name, kind in function() return uv.fs_scandir_next(scan) end do
    if kind == "directory" then walk(folder .. name .. "/", visit) else visit(folder .. name) end
  end
end

describe("time in specs", function()
  it("bounds nothing from above: no machine is too slow or too busy for them", function()
    local found = {}
    walk("", function(path)
      local text = tree.read(tree.root .. "/spec/" .. path)
      -- In C, time that is not the clock's is the simulator's.
      local is_timed = path:find "%.[ch]$" and (text:find "= clock_boottime_ns%(" or text:find "= lun_now_ns%(")
      local kinds = path:find "%.lua$" and LUA or is_timed and C
      if not kinds or is_figure(path) then return end
      for _, trouble in ipairs(troubles_of(text, kinds)) do
        found[#found + 1] = "spec/" .. path .. ":" .. trouble
      end
    end)
    table.sort(found)
    assert.equal("", table.concat(found, "\n"))
  end)

  it("is found where it does so", function()
    for _, line in ipairs {
      "assert.is_true(clock.now() - t <= 3)", "assert.is_true(lunarch.now() - began_at < GONE_S)",
      'assert.is_true(took_s < 1, "it took " .. took_s)', "assert.near(clock.now(), t, 0.5)",
      "local cpu = os.clock()", "assert.truthy(delays[#delays] < 0.2)", "assert.is_true(lost.t - revoked_at < 0.5)",
      "wait.eventually(is_there, 5)", 'scene.eventually(is_there, 5, "it")', "child:wait_exit(4)",
      'child:wait_line("told", 3)',
    } do
      assert.equal(1, #troubles_of(line, LUA), line)
      assert.equal(0, #troubles_of("-- timing: because\n" .. line, LUA), line)
    end
    for _, line in ipairs {
      "CHECK(clock_boottime_ns() - begin < 500 * NS_PER_MS);", "CHECK(late >= 0 && late < 100 * NS_PER_MS);",
      "CHECK(took > 900 * NS_PER_MS && took < 5 * NS_PER_S);", "getrusage(RUSAGE_SELF, &usage);",
    } do
      assert.equal(1, #troubles_of(line, C), line)
    end
  end)

  it("is left alone where it bounds from below, or has the one limit", function()
    for _, line in ipairs {
      "assert.is_true(clock.now() - t >= 3)", "wait.eventually(function() return n > 5 end)", "child:wait_exit()",
      'child:wait_line "told"', 'wait.eventually(is_there, nil, "it")', "if clock.now() >= deadline then",
    } do
      assert.same({}, troubles_of(line, LUA), line)
    end
  end)
end)
