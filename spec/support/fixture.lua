-- What many specs begin with: an etcd of their own, a client of it, and perhaps a session.
--
--   setup(function() client, server, session = fixture.open { ttl = 60 } end)
--   teardown(fixture.close)
--
-- One at a time; the questions about locks need the session.
local etcd = require "support.etcd"
local lunarch = require "lunarch"

local fixture = {}

local server, client, session

---@param options? lunarch.session_options none: no session
---@return lunarch.client, Etcd, lunarch.session?
function fixture.open(options)
  server = etcd.start()
  client = assert(lunarch.connect { endpoints = server.endpoint })
  session = options and assert(client:session(options))
  return client, server, session
end

function fixture.close()
  client:close(5)
  server:stop()
end

-- A lock that is held, so that whoever asks for it waits.
---@return lunarch.mutex
function fixture.locked(name)
  local mutex = assert(session:mutex(name))
  assert(mutex:lock(5))
  return mutex
end

-- A name that another mutex of the session has locked, and that mutex.
function fixture.locked_name()
  local holder = fixture.locked("/task/" .. tostring(math.random(2 ^ 40)))
  return holder.name, holder
end

function fixture.is_free(name)
  local mutex = assert(session:mutex(name))
  local ok = mutex:try_lock()
  if ok then mutex:unlock() end
  return ok
end

return fixture
