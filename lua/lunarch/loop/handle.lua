-- What all objects share: asking C, waiting for the answer, and the two kinds of trouble told apart.
local args = require "lunarch.internal.args"
local core = require "lunarch.core"
local loop = require "lunarch.loop"

args.is_ours()

local handle = {}

-- How long a `<close>` variable waits for its release; what is not answered by then goes on in the background.
handle.CLOSE_MS = 5000

-- `id, message, code` are what an asking call of C returned: an operation and, in place of the message, the token that
-- holds it: with the token the operation goes, whatever error comes out of nowhere. What C refuses at once is misuse;
-- the rest is the world. `owner`, whose method it was, must not be collected meanwhile either: a method that ends in
-- this call has left the stack.
function handle.await(owner, id, message, code)
  if id then return loop.await((owner._client or owner)._hub, id, false, message, owner) end
  if code == "invalid" then args.misuse(message) end
  return nil, message, code
end

-- The same, but it returns what finish(owner, that...) makes of it.
function handle.await_then(owner, finish, id, message, code)
  if id then return loop.await((owner._client or owner)._hub, id, false, message, owner, finish) end
  return finish(owner, handle.await(owner, id, message, code))
end

-- The same for a release: an interrupted wait leaves it going on.
function handle.await_release(owner, id, message, code)
  if id then return loop.await((owner._client or owner)._hub, id, true, message, owner) end
  if code == "invalid" then args.misuse(message) end
  return nil, message, code
end

-- The same for what is over, too, when its client was closed meanwhile: success then.
function handle.await_end(owner, id, message, code)
  if not id then return handle.await_release(owner, id, message, code) end
  local ok
  ok, message, code = handle.await_release(owner, id, message)
  if ok or code == "closed" then return true end
  return nil, message, code
end

-- ---- waiting calls ----------------------------------------------------------------------------------------------

local function timeout_of(n, a, b, c, d)
  if n == 0 then return a elseif n == 1 then return b elseif n == 2 then return c end
  return d
end

-- Adds calls that wait to a class, by name: { core =, n =, convert =, finish = }, all of which may be left out.
--   core      the method of C's object, if it has another name
--   n         how many arguments come before the timeout; 0 to 3
--   convert   (call, arguments...): checks them, and returns what C's method is given before the timeout: one value, or
--             two if `takes_two`
--   finish    (self, the first of these values, what C answered...): what the call returns
function handle.add_calls(class, methods, check, calls)
  for name, it in pairs(calls) do
    local call, core_name, n = class .. ":" .. name, it.core or name, it.n or 0
    local convert, finish = it.convert, it.finish
    methods[name] = function(self, a, b, c, d)
      check(self, name)
      local x, y
      if convert then x, y = convert(call, a, b, c) end
      local ms = args.timeout(call, timeout_of(n, a, b, c, d))
      loop.enter()
      local object = self._core
      local ask = object[core_name]
      if it.takes_two then
        return handle.await(self, ask(object, x, y, ms))
      elseif not convert then
        if finish then return finish(self, nil, handle.await(self, ask(object, ms))) end
        return handle.await(self, ask(object, ms))
      elseif finish then
        return finish(self, x, handle.await(self, ask(object, x, ms)))
      end
      return handle.await(self, ask(object, x, ms))
    end
  end
end

-- For objects that C makes at once.
function handle.made(object, message, code)
  if object then return object end
  if code == "invalid" then args.misuse(message) end
  return nil, message, code
end

-- An instant in seconds from C's, where 0 says that it is over: nil then.
function handle.instant(seconds)
  if seconds > 0 then return seconds end
  return nil
end

function handle.remaining(stop_at)
  local left = stop_at - core.now()
  return left > 0 and left or 0
end

return handle
