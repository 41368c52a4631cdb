-- What the scenes of the proofs share: specs that run as the main task of lunarch.run, clients that are closed in the
-- end, and waiting among tasks.
--
--   it("says what it proves", scene.play(function() ... end))    with the loop running: spawn, sleep, wait
--   scene.connect(server.endpoint)                           a client, closed after each spec; it learns no members
--   scene.eventually(fn, limit, what)                        as wait.eventually, while other tasks go on
--   scene.join(task)                                         what the task returned; an error when it takes too long
local clock = require "support.clock"
local lunarch = require "lunarch"
local wait = require "support.wait"

local scene = { LIMIT = wait.LIMIT }

local clients = {}

---@param endpoints string|string[]
---@param trace? fun(line: string)
---@return lunarch.client
function scene.connect(endpoints, trace)
  local client = assert(lunarch.connect { endpoints = endpoints, trace = trace, only_given_endpoints = true })
  clients[#clients + 1] = client
  return client
end

local function close_clients()
  for i, client in ipairs(clients) do
    clients[i] = nil
    client:close(2)
  end
end

-- What a scene leaves running is ended with it: the clients are closed, and every wait is answered.
---@param fn fun()
---@return fun()
function scene.play(fn)
  return function()
    lunarch.run(function()
      local ok, err = xpcall(fn, function(err)
        -- luassert's errors are tables that busted must see as they are.
        return type(err) == "string" and debug.traceback(err, 2) or err
      end)
      close_clients()
      if not ok then error(err, 0) end
    end)
  end
end

---@param fn fun(): any
---@param limit? number seconds
---@param what? string
function scene.eventually(fn, limit, what)
  limit = limit or wait.LIMIT
  local deadline = clock.now() + limit
  while true do
    local result = fn()
    if result then return result end
    if clock.now() >= deadline then error(("waited %g s in vain for %s"):format(limit, what or "a condition"), 2) end
    lunarch.sleep(0.005)
  end
end

---@param task lunarch.task
function scene.join(task)
  local results = table.pack(task:join(wait.LIMIT))
  if not results[1] then error(tostring(results[2]), 2) end
  return table.unpack(results, 2, results.n)
end

---@param client lunarch.client
---@return integer
function scene.count(client, prefix)
  local _, info = assert(client:get(prefix, { prefix = true, count_only = true }))
  return info.count
end

-- Waits until so many places stand in the line.
---@param client lunarch.client
function scene.await_line(client, name, n)
  scene.eventually(function() return scene.count(client, name .. "/") == n end, nil, n .. " places in " .. name)
end

---@param samples number[]
---@return number median, number longest
function scene.median(samples)
  table.sort(samples)
  return samples[(#samples + 1) // 2], samples[#samples]
end

return scene
