-- SIGHUP: the script is loaded anew while its candidates stand and lead, or is left as it was.
--
-- Its main part runs once more, in the same globals: what it does not set keeps its value, settings and handlers
-- excepted. If it fails, every global is as before. Modules are not loaded anew.
local args = require "lunarch.internal.args"
local connection = require "lunarch.internal.connection"
local handlers = require "lunarch.candidate.handlers"
local notify = require "lunarch.cli.notify"
local options = require "lunarch.candidate.options"
local signals = require "lunarch.cli.common.signals"
local source = require "lunarch.cli.common.source"
local take = require "lunarch.candidate.reload".take
local tasks = require "lunarch.candidate.tasks"

args.is_ours()

local reload = {}

-- ---- globals ----------------------------------------------------------------------------------------------------

local function snapshot()
  local saved = {}
  for name, value in pairs(_G) do
    saved[name] = value
  end
  return saved
end

local function restore(saved)
  for name in pairs(snapshot()) do
    if saved[name] == nil then rawset(_G, name, nil) end
  end
  for name, value in pairs(saved) do
    rawset(_G, name, value)
  end
end

-- What a script does not say any more must not count any more.
local function forget(known_before)
  for _, names in ipairs { options.handlers, options.settings, connection.OPTIONS } do
    for name in pairs(names) do
      if known_before[name] == nil then rawset(_G, name, nil) end
    end
  end
end

-- ---- candidates -------------------------------------------------------------------------------------------------

-- The candidates that the script declares now, none of which runs. Raises what is wrong with it. Where its main part
-- waits, the run goes on as it is, and may be stopped.
local function declare(run, chunk)
  local draft = setmetatable({ candidates = {}, is_draft = true }, { __index = run })
  run.draft = draft
  forget(run.known_before)
  local ok, err = pcall(draft.declare_all, draft, chunk, run.words)
  run.draft = nil
  if draft.client ~= run.client then draft.client:close(0) end
  if not ok then error(err, 0) end
  return draft.candidates
end

local function is_same(candidate, other)
  return candidate.election_name == other.election_name and candidate.name == other.name
end

-- The one of `others` that a candidate is in the script now; where there is one of each, whatever it is called.
local function counterpart(run, candidate, others)
  if #run.candidates == 1 and #others == 1 then return others[1] end
  for _, other in ipairs(others) do
    if is_same(candidate, other) then return other end
  end
end

local function apply(run, others)
  local used = {}
  for _, candidate in ipairs(run.candidates) do
    local other = counterpart(run, candidate, others)
    if other then
      used[other] = true
      local changes = take(candidate, other)
      if changes[1] then
        candidate.log.warn("takes effect after a restart only: %s", table.concat(changes, "; "))
      end
    else
      candidate.log.warn("the script declares this candidate of %s no more: it goes on until a restart",
        candidate.election_name)
    end
  end
  for _, other in ipairs(others) do
    if not used[other] then
      run.log.warn("the script declares a further candidate, %s in %s: it stands after a restart", other.name,
        other.election_name)
    end
  end
end

-- ---- all of it --------------------------------------------------------------------------------------------------

local function load_anew(run)
  if not run.path then return nil end
  -- A pipe would hold up everything until something is written to it.
  if require "luv".fs_stat(run.path) and not source.is_file(run.path) then
    error(("%s is not a file any more"):format(run.path), 0)
  end
  local chunk, trouble = source.load { script = run.path }
  if not chunk then error(trouble, 0) end
  local saved = snapshot()
  local ok, found = pcall(declare, run, chunk)
  if not ok then
    restore(saved)
    error(found, 0)
  end
  return found
end

local function call_handlers(run)
  for _, candidate in ipairs(run.candidates) do
    if candidate.handlers.on_reload and candidate.driver and not candidate.stopping then
      tasks.spawn(candidate, handlers.tell, "on_reload"):join()
    end
  end
end

local function reload_once(run)
  local ok, found = pcall(load_anew, run)
  if not ok then
    return run.log.error("the script was not loaded anew, and goes on as it was: %s", args.error_text(found))
  end
  if found and not found[1] then
    return run.log.error("the script was loaded anew, but declares no candidate any more: those it had go on as before")
  end
  if found then apply(run, found) end
  run.log.info(found and "the script was loaded anew" or "a script that is no file is not loaded anew")
  call_handlers(run)
end

--- Loads the script anew, in a task. Once more afterwards where this is called meanwhile.
function reload.start(run)
  if run.reloader then
    run.is_to_reload_again = true
    return
  end
  run.reloader = run.lunarch.spawn(function()
    repeat
      run.is_to_reload_again = false
      notify.reloading()
      reload_once(run)
      notify.reloaded()
    until not run.is_to_reload_again or signals.caught()
    run.reloader = nil
  end)
end

return reload
