-- ./dev nginx [PORT [PROGRAM]]: starts nginx with the nginx.conf beside this file, on a private etcd, until Ctrl-C.
-- PROGRAM: another nginx than Debian's, OpenResty's for example.
--
--   lunarch examples/nginx/start.lua --dev [-- PORT [PROGRAM]]
--
-- A second one on another port joins in, and so does whatever else is run with --dev.
local uv = require "luv"
local lunarch = require "lunarch"

local here = arg[0]:match "^(.*)/[^/]*$" or "."
local port = arg[1] or "8080"
local build = os.getenv "LUNARCH_BUILD"
local unpacked = os.getenv "LUNARCH_NGINX" or ""
local program = arg[2] or unpacked .. "/usr/sbin/nginx"

local function fail(format, ...)
  io.stderr:write("nginx: ", format:format(...), "\n")
  os.exit(1)
end

if not port:match "^%d+$" then fail("'%s' is no port", port) end
if not uv.fs_access(program, "X") then fail("there is no %s: start this by ./dev nginx", program) end

-- ---- the folder it runs in ---------------------------------------------------------------------------------------

local prefix = assert(uv.fs_mkdtemp "/tmp/lunarch-nginx-XXXXXX")

local function remove_prefix()
  os.execute("rm -rf '" .. prefix .. "'")
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- What was unpacked loads its own modules; another program has them built in.
local function load_lines()
  local lines = {}
  for _, name in ipairs { "ndk_http_module", "ngx_http_lua_module" } do
    local path = ("%s/usr/lib/nginx/modules/%s.so"):format(unpacked, name)
    if not arg[2] and uv.fs_access(path, "R") then lines[#lines + 1] = ("load_module \"%s\";"):format(path) end
  end
  return table.concat(lines, "\n")
end

local conf = assert(io.open(prefix .. "/nginx.conf", "w"))
conf:write((read(here .. "/nginx.conf"):gsub("8080", port):gsub("include /etc/nginx/[^\n]*", load_lines)))
conf:close()
assert(uv.fs_mkdir(prefix .. "/logs", 493))

-- ---- nginx ------------------------------------------------------------------------------------------------------

-- LuaJIT's own places, and before them those of the build tree and of what was unpacked with nginx.
local function environment()
  local all = uv.os_environ()
  local names = build and ("%s/share/lua/5.1/?.lua;%s/share/lua/5.1/?/init.lua;"):format(build, build) or ""
  all.LUA_PATH = names .. unpacked .. "/usr/share/lua/5.1/?.lua;;"
  all.LUA_CPATH = build and ("%s/lib/lua/5.1/?.so;;"):format(build) or ";;"
  all.LUNARCH_ENDPOINTS = type(endpoints) == "table" and table.concat(endpoints, ",") or endpoints
  local list = {}
  for name, value in pairs(all) do
    list[#list + 1] = name .. "=" .. value
  end
  return list
end

local status
local is_root = uv.getuid() == 0
local nginx, pid = uv.spawn("setpriv", {
  args = {
    "--pdeathsig", "TERM", program, "-p", prefix, "-c", prefix .. "/nginx.conf",
    -- Another user could not read the folder of the build.
    "-g", "daemon off;" .. (is_root and " user root;" or ""),
  },
  env = environment(),
  stdio = { nil, 1, 2 },
  -- Ctrl-C is for us, who tell it to quit.
  detached = true,
}, function(code) status = code end)
if not nginx then
  remove_prefix()
  fail("cannot start %s: %s", program, pid)
end
print(("nginx: http://127.0.0.1:%s/ /leader /orders; etcd: %s; Ctrl-C ends it, kill -HUP %d reloads it")
  :format(port, endpoints, pid))

local function wait_end()
  while not status do
    lunarch.sleep(0.1)
  end
end
-- Interrupted by Ctrl-C or SIGTERM: nginx is told to quit, and waited for.
local ok, err = pcall(wait_end)
if not ok then
  nginx:kill "sigquit"
  local until_s = lunarch.now() + 5
  while not status and lunarch.now() < until_s do
    uv.sleep(10)
    uv.run "nowait"
  end
  if not status then nginx:kill "sigkill" end
end
remove_prefix()
if not ok then error(err, 0) end
if status ~= 0 then fail("it ended with status %d", status) end
