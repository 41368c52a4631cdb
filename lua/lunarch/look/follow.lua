-- What happens in one line, told as it happens: who comes, who leaves, who leads or holds.
local args = require "lunarch.internal.args"
local look = require "lunarch.look"
local place = require "lunarch.look.place"

args.is_ours()

local follow = {}

local AGAIN_S = 1
local LOOK_S = 3
local HOPELESS = { permission_denied = true, unauthenticated = true, invalid = true }

local Follower = {}
Follower.__index = Follower

local VERBS = { election = { "leads", "elected" }, lock = { "holds it", "acquired" } }

-- The event of a place, in words.
function Follower:tell(what, found, text, level)
  self.on_event { what = what, who = found.who, text = text, level = level or "info", name = self.name, place = found }
end

local function rank_of(places, found)
  local rank = 1
  for _, other in pairs(places) do
    if other.token < found.token then rank = rank + 1 end
  end
  return rank
end

function Follower:tell_first()
  local first = place.first_of(self.places)
  local before = self.first
  if first and before and first.key == before.key and first.token == before.token then return end
  self.first = first
  if first then
    self:tell("elected", first, ("%s, token %d"):format(VERBS[first.kind][2], first.token))
  else
    self.on_event { what = "leader", text = "nobody is in the line", level = "info", name = self.name }
  end
end

function Follower:tell_place(found)
  local rank = rank_of(self.places, found)
  if rank > 1 then self:tell("joined", found, ("waits, place %d"):format(rank)) end
  if found.wrong then self:tell("fault", found, found.key .. " " .. found.wrong, "warn") end
end

-- What is there at the beginning, or after events were missed.
function Follower:read()
  local places, revision, code = look.places(self.client, self.name, LOOK_S)
  if not places then return nil, revision, code end
  self.places = {}
  for _, found in ipairs(places) do
    self.places[found.key] = found
  end
  self:tell_first()
  for _, found in ipairs(places) do
    if found ~= self.first then self:tell_place(found) end
  end
  return revision
end

function Follower:take_put(event)
  local found = place.read({
    key = event.key, value = event.value, lease = event.lease, create_revision = event.create_revision,
    mod_revision = event.revision,
  }, self.name)
  found.since = self.now()
  local before = self.places[event.key]
  self.places[event.key] = found
  if before and before.token == found.token then
    found.since = before.since
    if before.value ~= found.value then self:tell("say", before, ("proclaims %s"):format(found.who)) end
    if self.first == before then self.first = found end
  else
    self:tell_first()
    self:tell_place(found)
  end
end

function Follower:take_delete(event)
  local before = self.places[event.key]
  if not before then return end
  self.places[event.key] = nil
  local was_first = self.first == before
  self:tell(was_first and "lost" or "left", before,
    was_first and (before.kind == "lock" and "released it, or lost it" or "leads no longer") or "left the line")
  if was_first then self:tell_first() end
end

function Follower:take_events(revision)
  local watch = assert(self.client:watch(self.name .. "/", { prefix = true, revision = revision + 1 }))
  self.watch = watch
  while true do
    local event, message, code = watch:next()
    if not event then
      watch:close()
      return code, message
    end
    if event.type == "put" then self:take_put(event) else self:take_delete(event) end
  end
end

-- Said once, until etcd answers again.
function Follower:tell_silence(message)
  if self.is_silent then return end
  self.is_silent = true
  self.on_event { what = "fault", level = "warn", name = self.name, text = ("%s; trying again"):format(message) }
end

--- Tells until stop() is called. Waits. Returns nil, message, code when nothing can be told: etcd refuses it.
function Follower:run()
  while not self.is_stopped do
    local revision, message, code = self:read()
    if revision then
      self.is_silent = nil
      code, message = self:take_events(revision)
    end
    if self.is_stopped or code == "closed" then return true end
    if HOPELESS[code] then return nil, message, code end
    if code ~= "compacted" then
      self:tell_silence(message)
      self.sleep(AGAIN_S)
    end
  end
  return true
end

function Follower:stop()
  self.is_stopped = true
  if self.watch then self.watch:close() end
end

--- What follows the line of `name`. `options`: on_event(event), now() -> what `since` is counted in, sleep(seconds).
--- Events: { what = "elected" | "lost" | "leader" | "joined" | "left" | "say" | "fault", who =, text =, level =,
--- name =, place = }. It begins with what is there.
---@param client lunarch.client
---@param name string
function follow.new(client, name, options)
  return setmetatable({
    client = client, name = name, places = {}, on_event = options.on_event, now = options.now, sleep = options.sleep,
  }, Follower)
end

return follow
