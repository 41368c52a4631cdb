-- Whether this is Lua inside nginx, where light threads yield. In ngx.run_worker_thread there is an `ngx` too, but
-- little in it: a thread of nginx's pool has a Lua of its own, where calls block as they do in plain Lua.
require "lunarch.internal.args".is_ours()

return function()
  local ngx = rawget(_G, "ngx")
  return type(ngx) == "table" and ngx.timer ~= nil and ngx.get_phase ~= nil and ngx.worker ~= nil
end
