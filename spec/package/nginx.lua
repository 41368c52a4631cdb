-- Debian's nginx as it comes, its workers www-data, with the job and the lock of the example: what ./dev package --try
-- runs in its bare root by `lunarch nginx.lua --dev`.
local uv = require "luv"
local lunarch = require "lunarch"

local EXAMPLE = "/usr/share/doc/lunarch/examples/nginx/nginx.conf"
local SOCKET = "/tmp/http.sock"
local LIMIT_S = 10

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- The private etcd is for root alone, who lets the workers in.
os.execute "etcd=${LUNARCH_ENDPOINTS#unix://}; chmod o+x \"$(dirname \"$etcd\")\" && chmod o+rw \"$etcd\""

local function ask(path)
  local pipe = assert(io.popen(("curl -s --unix-socket %s http://nginx%s"):format(SOCKET, path)))
  local answer = pipe:read "a"
  pipe:close()
  return answer
end

local function eventually(what, question)
  local until_s = lunarch.now() + LIMIT_S
  while not question() do
    if lunarch.now() > until_s then
      error(what .. " did not come about; nginx's log begins:\n" .. read "/var/log/nginx/error.log":sub(1, 2000))
    end
    lunarch.sleep(0.1)
  end
end

-- It listens on a port that may be taken.
os.remove "/etc/nginx/sites-enabled/default"
local ours = read(EXAMPLE):match "\n(  lua_shared_dict .*\n)}%s*$"
write("/etc/nginx/conf.d/lunarch.conf", (ours:gsub("listen [^;]+", "listen unix:" .. SOCKET)))
write("/etc/nginx/modules-enabled/99-lunarch.conf", "env LUNARCH_ENDPOINTS;\n")
local endpoints = _G.endpoints
uv.os_setenv("LUNARCH_ENDPOINTS", type(endpoints) == "table" and table.concat(endpoints, ",") or endpoints)

assert(os.execute "nginx")
local pid = read "/run/nginx.pid":match "%d+"
eventually("the job", function() return ask "/leader":find "is it this instance: yes" end)
eventually("a request under the lock", function() return ask "/orders":find "served under the lock" end)
local user
for worker in read(("/proc/%s/task/%s/children"):format(pid, pid)):gmatch "%d+" do
  user = uv.fs_stat("/proc/" .. worker).uid
end
assert(uv.kill(tonumber(pid), "sigquit"))
eventually("the end of nginx", function() return not uv.fs_stat "/run/nginx.pid" end)
for _, name in ipairs { "conf.d/lunarch.conf", "modules-enabled/99-lunarch.conf" } do
  assert(os.remove("/etc/nginx/" .. name))
end
os.remove(SOCKET)
-- 33 is www-data on every Debian.
print("served by " .. (user == 33 and "www-data" or "user " .. tostring(user)))
