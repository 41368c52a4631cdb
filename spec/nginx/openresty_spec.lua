-- What only an nginx with OpenResty's patches and its stream module can do: preread_by_lua of stream {},
-- precontent_by_lua, the privileged agent. Debian's has none of them: put OpenResty's nginx in the place of the one
-- that ./dev unpacks.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local pkis = require "support.pki"
local ports = require "support.ports"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local FOLDER = os.getenv "LUNARCH_NGINX"

local function is_openresty()
  local pipe = assert(io.popen(("%s/usr/sbin/nginx -V 2>&1"):format(FOLDER)))
  local text = pipe:read "a"
  pipe:close()
  return text:find "add%-module=%S*stream" ~= nil
end

local STREAM = [[
  stream {
    lua_package_path "SHARE/?.lua;SHARE/?/init.lua;RESTY/?.lua;;";
    lua_package_cpath "LIB/?.so;;";
    lua_shared_dict lunarch 1m;
    init_worker_by_lua_block {
      lunarch = require "resty.lunarch"
      here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 60 })
      job = lunarch.singleton {
        election = "/openresty/stream", client = here.client, interval = 0.01,
        do_work = function() ngx.ctx = {} n_worked = (n_worked or 0) + 1 end,
      }
    }
    server {
      listen 127.0.0.1:STREAM_PORT;
      preread_by_lua_block { assert(here:lock("/openresty/preread", 60)) }
      content_by_lua_block {
        local socket = ngx.req.socket()
        ngx.say(tostring(job:is_leader()))
        if socket:receive() == "fail" then error "on purpose" end
      }
    }
  }
]]

describe("in OpenResty", function()
  local client, server

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function places(name)
    return #client:get("/openresty/" .. name .. "/", { prefix = true })
  end

  local function start(options)
    options.env = { ENDPOINT = server.endpoint }
    return nginx.start(options)
  end

  it("a lock that was taken in preread of stream {} goes with its connection", function()
    if not is_openresty() then return pending "this nginx has no stream module for Lua" end
    local port = ports.free()
    local web = start {
      workers = 1,
      main = STREAM:gsub("STREAM_PORT", tostring(port)):gsub("SHARE", tree.build .. "/share/lua/5.1")
        :gsub("LIB", tree.build .. "/lib/lua/5.1"):gsub("RESTY", FOLDER .. "/usr/share/lua/5.1"),
      http = [[ lua_shared_dict lunarch_http 1m;
        init_worker_by_lua_block {
          require("resty.lunarch").singleton {
            election = "/openresty/http", dict = "lunarch_http", endpoints = os.getenv "ENDPOINT",
            do_work = function() end,
          }
        } ]],
    }
    wait.eventually(function() return places "stream" == 1 and places "http" == 1 end)
    for _, word in ipairs { "well\n", "fail\n", false } do
      local tcp, text = uv.new_tcp(), ""
      tcp:connect("127.0.0.1", port, function()
        tcp:read_start(function(_, data) text = text .. (data or "") end)
      end)
      wait.eventually(function() return text:find "true" and places "preread" == 1 end)
      if word then tcp:write(word) else tcp:close() end
      wait.eventually(function() return places "preread" == 0 end)
      if word then tcp:close() end
    end
    assert.equal(0, #web:lines "a second Lua state")
    web:quit()
    assert.equal(0, places "stream" + places "http")
  end)

  it("a lock can be taken in the phases of TLS, and is given up when they have ended", function()
    if not is_openresty() then return pending "request_spec plays this with Debian's nginx" end
    local pki, port = pkis.usual(), ports.free()
    local web = start {
      workers = 1,
      http = ([[
        init_worker_by_lua_block {
          here = assert(require("resty.lunarch").new { endpoints = os.getenv "ENDPOINT", ttl = 60 })
          function lock() locked = (locked or "") .. here:lock("/openresty/tls", 60).name end
        }
        server {
          listen 127.0.0.1:TLS_PORT ssl;
          ssl_certificate CERT;
          ssl_certificate_key KEY;
          ssl_client_hello_by_lua_block { lock() }
          ssl_certificate_by_lua_block { lock() }
        }
      ]]):gsub("TLS_PORT", tostring(port)):gsub("CERT", pki:path "server.crt"):gsub("KEY", pki:path "server.key"),
      server = "location = /locked { content_by_lua_block { ngx.print(locked) } }",
    }
    os.execute(("openssl s_client -connect 127.0.0.1:%d </dev/null >/dev/null 2>&1"):format(port))
    assert.same({ 200, "/openresty/tls/openresty/tls" }, { web:get "/locked" })
    wait.eventually(function() return places "tls" == 0 end)
    tree.remove(pki.folder)
  end)

  it("calls wait in precontent_by_lua", function()
    if not is_openresty() then return pending "this nginx has no precontent_by_lua" end
    local web = start {
      http = [[ init_worker_by_lua_block {
        client = assert(require("lunarch").connect { endpoints = os.getenv "ENDPOINT" })
      } ]],
      server = [[ location = /x {
        precontent_by_lua_block { ngx.header.was = tostring(client:put("/openresty/precontent", ngx.get_phase())) }
        content_by_lua_block { ngx.print(ngx.header.was, " ", (client:get "/openresty/precontent")) }
      } ]],
    }
    assert.same({ 200, "true precontent" }, { web:get "/x" })
  end)

  it("a singleton made in the privileged agent alone says that nobody stands", function()
    if not is_openresty() then return pending "this nginx has no privileged agent" end
    local web = start {
      http = [[
        lua_shared_dict lunarch 1m;
        init_by_lua_block { assert(require("ngx.process").enable_privileged_agent(32)) }
        init_worker_by_lua_block {
          if require("ngx.process").type() == "privileged agent" then
            require("resty.lunarch").singleton {
              election = "/openresty/agent", endpoints = os.getenv "ENDPOINT", do_work = function() end,
            }
          end
        }
      ]],
    }
    local complaint = "no worker stands: a singleton does not stand in the privileged agent"
    wait.eventually(function() return #web:lines(complaint) > 0 end)
    assert.equal(0, places "agent")
    web:quit()
  end)
end)
