-- What module_memory_test.c tells again and again while memory is refused. A table of stories: each gets the module and
-- where to connect.
local stories = {}

local function must(value, err, code)
  if value == nil or value == false then error(("%s (%s)"):format(err, code), 0) end
  return value
end

function stories.a_lock_is_taken_and_given_back(lunarch, endpoints)
  local client = must(lunarch.connect { endpoints = endpoints, loop = "block" })
  local session = must(client:session { ttl = 5 })
  local mutex = must(session:mutex "/lua/lock")
  must(mutex:lock(5))
  must(mutex:unlock())
  must(mutex:try_lock())
  local other = must(session:mutex "/lua/lock")
  local ok, _, code = other:try_lock()
  assert(not ok and (code == "locked" or code == "no_memory"), code)
  must(mutex:unlock())
  must(mutex:with(function() return true end))
  must(session:close())
  must(client:close())
end

function stories.a_term_is_won_and_resigned(lunarch, endpoints)
  local client = must(lunarch.connect { endpoints = endpoints, loop = "block" })
  local session = must(client:session { ttl = 5 })
  local election = must(session:election "/lua/vote")
  local term = must(election:campaign("A", 5))
  must(term:proclaim "B")
  must(term:put("/lua/data", "1"))
  assert(must(election:leader()).value == "B")
  must(term:resign())
  must(session:close())
  must(client:close())
end

function stories.the_store_answers(lunarch, endpoints)
  local client = must(lunarch.connect { endpoints = endpoints, loop = "block" })
  must(client:put("/lua/a", "one"))
  assert(must(client:get "/lua/a") == "one")
  must(client:delete "/lua/a")
  local watch = must(client:watch("/lua/w"))
  must(client:put("/lua/w", "seen"))
  watch:close()
  must(client:close())
end

-- Nobody closes anything: the collector does.
function stories.all_is_left_to_the_collector(lunarch, endpoints)
  local client = must(lunarch.connect { endpoints = endpoints, loop = "block" })
  local session = must(client:session { ttl = 5 })
  must(must(session:mutex "/lua/left"):lock(5))
  must(must(session:election "/lua/left2"):campaign("A", 5))
end

-- Below the face of the module: an error in the middle of telling what is finished loses none of it.
function stories.what_is_finished_is_told(_, endpoints)
  local core = require "lunarch.core"
  local client = must(core.connect(endpoints, nil, true, {}))
  local asked, n_told = {}, 0
  for _ = 1, 5 do
    local id, token, code = client:kv({ kind = 0, key = "/lua/x" }, 5000)
    must(id, token, code)
    asked[id] = token
  end
  for id in pairs(asked) do
    repeat until client:wait(id, 100)
  end
  local is_told, failure
  repeat
    local ids = {}
    is_told, failure = pcall(client.drain, client, ids)
    for id in pairs(is_told and asked or {}) do
      for _, told in ipairs(ids) do
        if told == id then n_told = n_told + 1 end
      end
    end
  until is_told or not failure:find "memory"
  assert(is_told, failure)
  assert(n_told == 5, "some were not told")
  for id, token in pairs(asked) do
    must(client:take(id, token, client))
  end
end

return stories
