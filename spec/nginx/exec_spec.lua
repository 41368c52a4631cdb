-- Commands inside nginx, whose workers reap every child there is.
local nginx = require "support.nginx"
local process = require "support.process"
local wait = require "support.wait"

describe("a command inside nginx", function()
  after_each(nginx.stop_all)

  local function start(server)
    return nginx.start { workers = 1, server = server, http = [[
      init_worker_by_lua_block { lunarch = require "lunarch" future = lunarch.future() }
    ]] }
  end

  it("returns what it wrote and its status, and holds up its own request alone", function()
    local web = start [[
      location = /slow { content_by_lua_block {
        local result = assert(lunarch.exec { "sh", "-c", "cat; sleep 1; exit 3", stdin = "given" })
        ngx.print(result.stdout, result.code)
      } }
      location = /quick { content_by_lua_block {
        ngx.print(assert(lunarch.exec { "echo", "quick" }).stdout)
      } }
    ]]
    local slow = web:open "/slow"
    local _, body = web:get "/quick"
    assert.equal("quick\n", body)
    assert.is_nil(slow.status)
    slow:wait()
    assert.equal("given3", slow.body)
    assert.falsy(web:log():find("exited on signal", 1, true))
  end)

  it("goes on after an on_line that waits", function()
    local web = start [[
      location = /lines { content_by_lua_block {
        local lines = {}
        assert(lunarch.exec { "sh", "-c", "echo a; echo b; sleep 0.05; echo c", on_line = function(line)
          lines[#lines + 1] = line
          ngx.sleep(0.1)
          assert(lunarch.exec { "true" })
        end })
        ngx.print(table.concat(lines))
      } }
    ]]
    assert.equal("abc", select(2, web:get "/lines"))
  end)

  it("is waited for like a future that another request sets", function()
    local web = start [[
      location = /wait { content_by_lua_block { ngx.print(future:wait(60)) } }
      location = /set { content_by_lua_block { ngx.print(tostring(future:set "there")) } }
    ]]
    local waiting = web:open "/wait"
    web:get "/ready"
    assert.is_nil(waiting.status)
    assert.equal("true", select(2, web:get "/set"))
    waiting:wait()
    assert.equal("there", waiting.body)
  end)

  it("is ended when its time is over, and when its worker is", function()
    local web = start [[
      location = /late { content_by_lua_block {
        local _, _, code = lunarch.exec { "sleep", 1000, timeout = 0.2 }
        ngx.print(code)
      } }
      location = /long { content_by_lua_block {
        lunarch.exec { "sh", "-c", "echo $$; exec sleep 1000", on_line = function(line) package.loaded.pid = line end }
      } }
      location = /pid { content_by_lua_block { ngx.print(package.loaded.pid or "") } }
    ]]
    local _, body = web:get "/late"
    assert.equal("timeout", body)
    web:open "/long"
    local pid = wait.eventually(function() return tonumber((select(2, web:get "/pid"))) end)
    assert.is_true(process.is_running(pid))
    web:stop()
    wait.eventually(function() return not process.is_running(pid) end)
  end)
end)
