-- lunarch status: one line, place by place.
local looks = require "lunarch.cli.common.looks"
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local command = {
  summary = "show who leads or holds, and who waits",
  usage = { "NAME [flags]" },
  description = [[
Shows the line of an election or a lock: who leads or holds, who waits, the fencing tokens,
the time each lease has left unless it is renewed, host and pid of locks, the keys; and what
is wrong with it: a key without a lease, which blocks the line until it is deleted, or a name
inside of this name; a pause, and a switchover that is under way.]],
  epilog = looks.EPILOG,
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("name", "the election or the lock"):args "?"
  looks.define(parser)
end

local VERBS = { election = "leads", lock = "holds" }

-- What a line comes to, in one sentence.
local function sentence(name, first, n_waiting, revision)
  name = texts.plain(name)
  if not first then return ("nobody leads or holds %s, and nobody waits"):format(name) end
  local waiting = n_waiting == 0 and "nobody waits" or ("%d %s"):format(n_waiting, n_waiting == 1 and "waits" or "wait")
  if first.wrong then
    return ("nobody leads or holds %s: it is blocked by the key %s; %s"):format(name, texts.plain(first.key), waiting)
  end
  local age = revision - first.token
  return ("%s %s %s, token %d, for %d %s of etcd; %s"):format(texts.plain(first.who), VERBS[first.kind], name,
    first.token, age, age == 1 and "revision" or "revisions", waiting)
end

-- What candidates are asked for just now, a sentence each.
local function asked(name, requests)
  local pause, switchover, lines = requests.pause, requests.switchover, {}
  if pause then
    lines[1] = ("%s is paused by %s: no candidate of lunarch takes over until `lunarch resume %s`"):format(name,
      pause.by or "another", name)
  end
  if switchover then
    lines[#lines + 1] = ("a switchover%s is under way, asked for by %s (%s)"):format(
      switchover.to and " to " .. switchover.to or "", switchover.by or "another", switchover.state or "?")
  end
  return lines
end

local function as_json(name, places, revision, requests)
  local waiting, wrong = {}, {}
  for i, place in ipairs(places) do
    if i > 1 then waiting[#waiting + 1] = place end
    if place.wrong then wrong[#wrong + 1] = ("%s %s"):format(place.key, place.wrong) end
  end
  local first = places[1]
  return {
    name = name, revision = revision, kind = first and first.kind, first = first, waiting = waiting, wrong = wrong,
    is_held = first ~= nil and not first.wrong, pause = requests.pause, switchover = requests.switchover,
  }
end

local function run(client, flags)
  local places, revision, code = require("lunarch.look").line(client, flags.name, looks.timeout(flags))
  if not places then return nil, revision, code end
  local first = places[1]
  -- Who may not read them sees the line all the same.
  local requests = require("lunarch.handover").requests(client, flags.name) or {}
  if flags.json then
    io.stdout:write(require("lunarch.look.json").encode(as_json(flags.name, places, revision, requests)), "\n")
  else
    io.stdout:write(sentence(flags.name, first, math.max(0, #places - 1), revision), "\n")
    if first then io.stdout:write(tostring(require("lunarch.look.columns").rows("line", places)), "\n") end
    for _, text in ipairs(asked(flags.name, requests)) do
      io.stdout:write(texts.plain(text), "\n")
    end
  end
  return first and not first.wrong and 0 or looks.NONE
end

---@return integer status
function command.run(flags)
  return looks.run_named("status", flags, run)
end

return command
