-- Shared Lua runs on Lua 5.1 (LuaJIT) and 5.4 alike; specs and tools are 5.4.
std = "max"
max_line_length = 120
codes = true
cache = false
exclude_files = { "build" }

-- `self` of a method that does not need it is part of the interface.
self = false

files["spec"] = { std = "max+busted" }
for _, path in ipairs { "lua/lunarch/loop/nginx", "lua/lunarch/singleton", "lua/resty" } do
  files[path] = { std = "max+ngx_lua" }
end

-- A script of the host declares its handlers and settings as globals.
for _, path in ipairs { "examples", "spec/annotated" } do
  files[path] = {
    -- A handler shows what it is given, used or not.
    unused_args = false,
    globals = {
      "election", "name", "ttl", "interval", "grace", "stop_timeout", "work_timeout", "endpoints",
      "on_elected", "do_work", "on_lost", "on_leader", "do_standby", "on_jeopardy", "on_safe",
      "may_stand", "health", "health_interval", "health_timeout", "health_failures",
      "candidate", "log", "sim", "check",
    },
  }
end

-- An experiment has the verbs of the console.
for _, path in ipairs { "examples/lab", "spec/annotated/mistakes_lab.lua" } do
  files[path] = {
    read_globals = {
      "candidate", "run", "until_", "expect", "stop", "kill", "pause", "cut", "slow", "heal", "freeze", "crash", "start",
      "revoke", "fill", "skew", "try", "lock", "leave", "resign", "etcd_leader", "now", "client", "session",
    },
  }
end
