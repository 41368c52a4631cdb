-- What came of a file that was run: judged by what it reported, how it ended, and what sanitizers wrote; and shown.
local uv = require "luv"
local tree = require "support.tree"

local verdict = {}

local SHOWN_LINES = 60
local UNIT_SKIPPED = 77
local COMPLAINT_BYTES = 4000

-- What the sanitizers wrote, one file for each process that had something to complain of.
---@param job table
---@return string[] paths
function verdict.complaints_of(job)
  local paths = {}
  local scan = uv.fs_scandir(job.folder)
  while scan do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    local path = job.folder .. "/" .. name
    if path:sub(1, #job.complaints + 1) == job.complaints .. "." then paths[#paths + 1] = path end
  end
  table.sort(paths)
  return paths
end

local function fate(job)
  if job.is_late then return ("was ended after its limit of %d s"):format(job.limit_s) end
  if job.signal ~= 0 then return "was killed by signal " .. job.signal end
  return "exited with status " .. job.status
end

local function fail(job, text)
  job.failed = job.failed + 1
  job.troubles[#job.troubles + 1] = text
end

local function judge_spec(job, is_filtered)
  local running, is_complete
  for line in tree.read(job.report):gmatch "[^\n]+" do
    local verb, seconds, name = line:match "^(%a+) ([%d.]+) (.*)"
    if line == "end" then
      is_complete = true
    elseif line:sub(1, 2) == "| " then
      job.troubles[#job.troubles + 1] = "    " .. line:sub(3)
    elseif line:match "^why " then
      table.insert(job.reasons, line:sub(5))
    elseif line:match "^start " then
      running = line:sub(7)
    elseif verb == "passed" then
      job.passed, running = job.passed + 1, nil
    elseif verb == "skipped" then
      job.skipped, running = job.skipped + 1, nil
    elseif verb == "failed" then
      fail(job, ("failed: %s (%s s)"):format(name, seconds))
      running = nil
    end
  end
  if not is_complete then
    fail(job, ("failed: the file %s before its plan was completed%s"):format(
      fate(job), running and ", in: " .. running or ""))
  elseif job.failed == 0 and (job.status ~= 0 or job.signal ~= 0) then
    fail(job, ("failed: every spec passed, and then the process %s"):format(fate(job)))
  elseif job.passed + job.failed + job.skipped == 0 and not is_filtered then
    fail(job, "failed: the file holds no spec")
  end
end

local function judge_unit(job)
  local passed, failed
  for line in tree.read(job.output):gmatch "[^\n]+" do
    if line:match "^%d+ passed, %d+ failed$" then passed, failed = line:match "^(%d+)%D+(%d+)" end
    if line:match "^not ok%f[%W]" then table.insert(job.troubles, "failed: " .. line:sub(8)) end
  end
  job.passed, job.failed = tonumber(passed) or 0, tonumber(failed) or 0
  if job.status == UNIT_SKIPPED then
    job.skipped = 1
  elseif not passed then
    fail(job, ("failed: the program %s before its plan was completed"):format(fate(job)))
  elseif job.failed == 0 and #job.troubles > 0 then
    fail(job, "failed: the program does not count what failed in it")
  elseif job.failed == 0 and (job.status ~= 0 or job.signal ~= 0) then
    fail(job, ("failed: every test passed, and then the program %s"):format(fate(job)))
  end
end

local function judge_complaints(job)
  for _, path in ipairs(verdict.complaints_of(job)) do
    fail(job, "failed: a sanitizer complains, in " .. path)
    for line in tree.read(path):sub(1, COMPLAINT_BYTES):gmatch "[^\n]+" do
      table.insert(job.troubles, "    " .. line)
    end
  end
end

-- Sets passed, failed, skipped, troubles and reasons (of what was skipped).
---@param job table
---@param is_filtered boolean whether a file may hold no spec that was asked for
function verdict.judge(job, is_filtered)
  job.passed, job.failed, job.skipped, job.troubles, job.reasons = 0, 0, 0, {}, {}
  if job.vm then judge_spec(job, is_filtered) else judge_unit(job) end
  judge_complaints(job)
end

---@param job table
function verdict.show(job)
  local counts = job.passed .. " passed"
  if job.failed > 0 then counts = counts .. ", " .. job.failed .. " failed" end
  if job.skipped > 0 then counts = counts .. ", " .. job.skipped .. " skipped" end
  print(("%-5s %s  %s, %.1f s"):format(job.failed > 0 and "FAIL" or "ok", job.name, counts, job.seconds))
  for _, reason in ipairs(job.reasons) do
    print("      skipped: " .. reason)
  end
  if job.failed == 0 then return end
  for _, trouble in ipairs(job.troubles) do
    print("      " .. trouble)
  end
  local lines = {}
  for line in tree.read(job.output):gmatch "[^\n]+" do
    lines[#lines + 1] = line
  end
  if #lines == 0 then return end
  print("      its output" .. (#lines > SHOWN_LINES and ", the end of " .. job.output or "") .. ":")
  for i = math.max(1, #lines - SHOWN_LINES + 1), #lines do
    print("      > " .. lines[i])
  end
end

return verdict
