-- nginx for specs: Debian's, with its Lua module and ours, on a free port, with a configuration made for the spec.
--
--   local nginx = require("support.nginx").start {
--     http = [[ lua_shared_dict lunarch 1m; ]],             what stands in http { }
--     server = [[ location = /x { content_by_lua_block { ... } } ]],
--     modules = { name = "a Lua module's text" },           beside the configuration, found by require
--     workers = 2, main = "", connections = 1024, env = { NAME = "value" },
--     user = "nobody nogroup",                              the workers', where the master is root (default: root too);
--                                                           all they may write to is PREFIX/tmp
--   }
--   nginx:get("/x")                       status, body; raises when there was no answer
--   nginx:open("/x")                      a request under way: wait(), close(), status, body
--   nginx:reload() nginx:quit() nginx:stop()
--   nginx.stop_all()                      every one that was started, for after_each
--   nginx:workers()                       the pids of the workers there are, leaving ones included
--   nginx:log()                           its error log
--   nginx:files("tmp")                    the names in a folder below its prefix
--
-- Under --restless the collectors of its workers never rest either.
local uv = require "luv"
local ports = require "support.ports"
local process = require "support.process"
local secured = require "support.secured"
local tree = require "support.tree"
local wait = require "support.wait"

local nginx = {}

local FOLDER = os.getenv "LUNARCH_NGINX"

local CONF = [[
LOADS
daemon off;
USER
worker_processes WORKERS;
pid PREFIX/nginx.pid;
error_log PREFIX/error.log LEVEL;
ENV
MAIN
events { worker_connections CONNECTIONS; }
http {
  access_log off;
  client_body_temp_path PREFIX/body;
  proxy_temp_path PREFIX/proxy;
  fastcgi_temp_path PREFIX/fastcgi;
  uwsgi_temp_path PREFIX/uwsgi;
  scgi_temp_path PREFIX/scgi;
  lua_package_path "PREFIX/?.lua;SHARE/?.lua;SHARE/?/init.lua;RESTY/?.lua;;";
  lua_package_cpath "LIB/?.so;;";
  HTTP
  server {
    listen 127.0.0.1:PORT;
    keepalive_requests 1000000;
    location = /ready { content_by_lua_block { ngx.print "ready" } }
    SERVER
  }
}
]]

local NEVER_REST = [[ require "jit".off() collectgarbage("setpause", 0) collectgarbage("setstepmul", 10000) ]]

---@class Nginx
---@field pid integer the master's
---@field port integer
local Nginx = {}
Nginx.__index = Nginx

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- What anybody may read, in the place of folders that only we may enter.
local function copy_modules(self)
  local names = { SHARE = self.modules.SHARE, LIB = self.modules.LIB, RESTY = self.modules.RESTY }
  for name, folder in pairs(names) do
    self.modules[name] = self.prefix .. "/" .. name:lower()
    assert(os.execute(("cp -rL %s %s"):format(tree.quote { folder }, tree.quote { self.modules[name] })))
  end
  assert(os.execute("chmod -R a+rX " .. tree.quote { self.prefix }))
  assert(uv.fs_mkdir(self.prefix .. "/tmp", 511))
  assert(uv.fs_chmod(self.prefix .. "/tmp", 1023))
end

-- OpenResty's nginx has its modules built in.
local function load_lines()
  local lines = {}
  for _, name in ipairs { "ndk_http_module", "ngx_http_lua_module" } do
    local path = ("%s/usr/lib/nginx/modules/%s.so"):format(FOLDER, name)
    if uv.fs_access(path, "R") then lines[#lines + 1] = ("load_module \"%s\";"):format(path) end
  end
  return table.concat(lines, "\n")
end

local function configuration(self, options)
  local env = {}
  for name, value in pairs(options.env or {}) do
    env[#env + 1] = ("env %s=%s;"):format(name, value)
  end
  for _, name in ipairs(secured.VARIABLES) do
    env[#env + 1] = ("env %s;"):format(name)
  end
  local words = {
    LOADS = load_lines(), PREFIX = self.prefix, PORT = tostring(self.port),
    WORKERS = tostring(options.workers or 2), LEVEL = options.level or "warn", MAIN = options.main or "",
    USER = uv.getuid() == 0 and ("user %s;"):format(options.user or "root") or "",
    CONNECTIONS = tostring(options.connections or 1024), HTTP = options.http or "", SERVER = options.server or "",
    ENV = table.concat(env, "\n"), SHARE = self.modules.SHARE, LIB = self.modules.LIB, RESTY = self.modules.RESTY,
  }
  if os.getenv "LUNARCH_RESTLESS" then
    words.HTTP = words.HTTP:gsub("init_worker_by_lua_block {", "%0" .. NEVER_REST, 1)
  end
  -- Twice: what is filled in may hold such words itself.
  return (CONF:gsub("%u+", words):gsub("%u+", { PREFIX = self.prefix, PORT = tostring(self.port) }))
end

local function command_of(self)
  return { FOLDER .. "/usr/sbin/nginx", "-p", self.prefix, "-c", self.prefix .. "/nginx.conf" }
end

-- ---- requests ---------------------------------------------------------------------------------------------------

local Request = {}
Request.__index = Request

local function read_reply(request)
  local head, body = request.text:match "^(.-\r\n\r\n)(.*)$"
  if not head then return end
  local length = tonumber(head:lower():match "content%-length: (%d+)")
  local is_chunked = head:lower():find("transfer-encoding: chunked", 1, true)
  if length and #body >= length then
    request.body = body:sub(1, length)
  elseif is_chunked and body:find "0\r\n\r\n$" then
    request.body = body:gsub("%x+\r\n", "", 1):gsub("\r\n%x+\r\n", ""):gsub("\r\n$", "")
  elseif request.has_ended and not length and not is_chunked then
    request.body = body
  end
  if request.body then request.status = math.tointeger(head:match "^HTTP/1.%d (%d+)") end
end

-- A request under way; `request.status` and `request.body` are set when it has been answered, `request.error` when it
-- never will be.
function Nginx:open(path)
  local request = setmetatable({ path = path, text = "", tcp = uv.new_tcp() }, Request)
  request.tcp:connect("127.0.0.1", self.port, function(err)
    if err then
      request.error = err
      return
    end
    request.tcp:read_start(function(failure, data)
      request.text = request.text .. (data or "")
      request.has_ended = not data
      read_reply(request)
      if request.has_ended and not request.status then request.error = failure or "closed without an answer" end
    end)
    request.tcp:write(("GET %s HTTP/1.1\r\nHost: spec\r\nConnection: close\r\n\r\n"):format(path))
  end)
  return request
end

-- The client goes away.
function Request:close()
  if not self.tcp:is_closing() then self.tcp:close() end
end

function Request:is_over()
  return self.status ~= nil or self.error ~= nil
end

function Request:wait(limit)
  wait.eventually(function() return self:is_over() end, limit, "an answer to " .. self.path)
  self:close()
  if self.error then error(self.path .. ": " .. self.error, 2) end
  return self.status, self.body
end

function Nginx:get(path, limit)
  return self:open(path):wait(limit)
end

-- One that others have started: for requests only.
function nginx.at(port)
  return setmetatable({ port = port }, Nginx)
end

-- ---- its life ---------------------------------------------------------------------------------------------------

function Nginx:log()
  return tree.read(self.prefix .. "/error.log")
end

-- The lines of its log that match, in order.
function Nginx:lines(pattern)
  local found = {}
  for line in self:log():gmatch "[^\n]+" do
    if line:find(pattern) then found[#found + 1] = line end
  end
  return found
end

function Nginx:files(folder)
  local names, scan = {}, assert(uv.fs_scandir(self.prefix .. "/" .. folder))
  while true do
    local name = uv.fs_scandir_next(scan)
    if not name then return names end
    names[#names + 1] = name
  end
end

local function children_of(pid)
  local children = {}
  for child in tree.read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
    children[#children + 1] = math.tointeger(tonumber(child))
  end
  return children
end

function Nginx:workers()
  local workers = {}
  for _, pid in ipairs(children_of(self.pid)) do
    if process.is_running(pid) then workers[#workers + 1] = pid end
  end
  return workers
end

function Nginx:is_running()
  return process.is_running(self.pid)
end

local started = {}

-- Starts it as it was told before: for reload with another configuration there is `configure`.
function nginx.start(options)
  local self = setmetatable({ port = ports.free(), options = options }, Nginx)
  -- The folder of a spec file is closed to others.
  self.own_folder = options.user and assert(uv.fs_mkdtemp "/tmp/lunarch-nginx-XXXXXX")
  self.prefix = self.own_folder or tree.folder()
  self.modules = {
    SHARE = tree.build .. "/share/lua/5.1", LIB = tree.build .. "/lib/lua/5.1", RESTY = FOLDER .. "/usr/share/lua/5.1",
  }
  started[#started + 1] = self
  if options.user then copy_modules(self) end
  self:configure(options)
  local fd = assert(uv.fs_open(self.prefix .. "/output", "w", 420))
  local environment = tree.environment { LD_PRELOAD = os.getenv "LUNARCH_PRELOAD" or false }
  self.pid = process.spawn(command_of(self), environment, { nil, fd, fd })
  uv.fs_close(fd)
  if options.is_expected_to_fail then return self end
  wait.eventually(function() return not self:is_running() or self:get "/ready" == 200 end, nil, "nginx to serve")
  if not self:is_running() then error("nginx has ended: " .. self:output()) end
  return self
end

function Nginx:configure(options)
  for name, text in pairs(options.modules or {}) do
    write(("%s/%s.lua"):format(self.prefix, name), text)
  end
  write(self.prefix .. "/nginx.conf", configuration(self, options))
end

-- What it printed before its log was open, and its log.
function Nginx:output()
  return tree.read(self.prefix .. "/output") .. self:log()
end

-- Returns when the old workers have been told, and new ones serve; the old ones' pids.
function Nginx:reload()
  local old = self:workers()
  local is_old = {}
  for _, pid in ipairs(old) do
    is_old[pid] = true
  end
  assert(uv.kill(self.pid, "sighup"))
  wait.eventually(function()
    local n = 0
    for _, pid in ipairs(self:workers()) do
      if not is_old[pid] then n = n + 1 end
    end
    return n >= (self.options.workers or 2)
  end, nil, "new workers")
  return old
end

-- Waits until these processes are gone.
function nginx.wait_gone(pids, limit)
  wait.eventually(function()
    for _, pid in ipairs(pids) do
      if process.is_running(pid) then return false end
    end
    return true
  end, limit, "workers to be gone")
end

local function end_by(self, signal, limit)
  uv.kill(self.pid, signal)
  wait.eventually(function() return not self:is_running() end, limit, "nginx to end")
end

-- Lets what is under way end first.
function Nginx:quit(limit)
  end_by(self, "sigquit", limit)
end

function Nginx:stop()
  if self:is_running() then end_by(self, "sigterm") end
end

function nginx.stop_all()
  while started[1] do
    local self = table.remove(started, 1)
    self:stop()
    if self.own_folder then tree.remove(self.own_folder) end
  end
end

return nginx
