-- Loaded by busted before each spec file: what every spec relies on, and the last word to the library under test.
local busted = require "busted"
local uv = require "luv"
local vm = require "support.vm"

if os.getenv "LUNARCH_RESTLESS" then vm.never_rest() end

-- Only this very process needs the sanitizers put before it; process.lua gives them on to other Lua VMs.
local preload = os.getenv "LD_PRELOAD"
if preload then
  uv.os_setenv("LUNARCH_PRELOAD", preload)
  uv.os_unsetenv "LD_PRELOAD"
end

-- busted takes modules out of package.loaded between files, but a loaded shared object stays in the registry.
local function core_is_loaded()
  local registry = debug.getregistry()
  for key in pairs(registry._CLIBS or registry) do
    if type(key) == "string" and key:find("/lunarch/core.so", 1, true) then return true end
  end
  return false
end

busted.subscribe({ "exit" }, function()
  -- luv crashes in lua_close() over handles whose closing was never carried out.
  uv.run "nowait"
  if core_is_loaded() then
    local lunarch = require "lunarch"
    collectgarbage()
    if lunarch.shutdown then lunarch.shutdown(5) end
  end
  return nil, true
end)
