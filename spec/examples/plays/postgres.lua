-- examples/postgres on two hosts. From outside: never two servers that accept writes; the tokens in the journal rise.
local ports = require "support.ports"
local postgres = require "examples.postgres"
local stage = require "examples.stage"
local vm = require "support.vm"

local Play = stage.kind("/examples/postgres", { "1", "2" })
local is_whole, stop = Play.is_whole, Play.stop

local function psql(self, i, text)
  local output, ok = postgres.ask(self.ports[i], text)
  return ok and output:match "^%S*" or nil
end

-- "f": a primary, "t": a standby.
local function role_of(self, i) return psql(self, i, "SELECT pg_is_in_recovery()") end

-- The first is asked once more: it may have ended, and the second begun, in between.
function Play:leader()
  local first, second = role_of(self, 1) == "f", role_of(self, 2) == "f"
  if first and second and role_of(self, 1) == "f" then self.found[#self.found + 1] = "two primaries at once" end
  return first and 1 or second and 2 or nil
end

function Play:is_whole()
  local roles = { role_of(self, 1), role_of(self, 2) }
  table.sort(roles)
  return is_whole(self) and roles[1] == "f" and roles[2] == "t"
end

function Play:troubles()
  local wrong = psql(self, self:leader(), [[SELECT count(*) FROM
    (SELECT token, lag(token) OVER (ORDER BY at) AS before FROM journal) AS j WHERE token < before]])
  if wrong ~= "0" then self.found[#self.found + 1] = wrong .. " writes with an older token than the one before" end
  return self.found
end

function Play:stop()
  stop(self)
  for i in ipairs(self.hosts) do
    postgres.stop(i, self.folder)
  end
  vm.shell("rm -rf " .. self.folder)
end

return function()
  local self = stage.begin(Play)
  self.folder, self.ports = postgres.folder(), {}
  for i in ipairs(self.names) do
    self.ports[i] = ports.free()
    self:add_program(function(endpoint)
      return postgres.node(i, self.folder, self.ports[i], { "--endpoints", endpoint, "--only-given-endpoints" })
    end)
  end
  return self
end
