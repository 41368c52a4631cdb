-- ./dev soak --asan PART...: soak.lua under the sanitizers of build/asan. What they say of a child is a finding of the
-- part that started it; UBSan's lines, which end nothing, are told here.
local sanitizers = require "support.sanitizers"
local tree = require "support.tree"
local uv = require "luv"

local settings = sanitizers.environment "asan"
local folder = assert(uv.fs_mkdtemp "/tmp/lunarch-soak-XXXXXX")
local complaints = folder .. "/complaints"

local environment = tree.environment {
  LD_PRELOAD = settings.preload,
  ASAN_OPTIONS = settings.ASAN_OPTIONS, UBSAN_OPTIONS = settings.UBSAN_OPTIONS, LSAN_OPTIONS = settings.LSAN_OPTIONS,
  LUNARCH_SANITIZED = "1", LUNARCH_COMPLAINTS = complaints,
}

local status = 1
local handle, pid
handle, pid = uv.spawn("setpriv", {
  args = { "--pdeathsig", "TERM", "lua5.4", tree.root .. "/spec/soak/soak.lua", table.unpack(arg) },
  env = environment, stdio = { 0, 1, 2 },
}, function(code, signal)
  handle:close()
  status = signal == 0 and code or 1
end)
assert(handle, pid)
uv.run()

-- Where stamp.lua puts them.
local said = tree.read(complaints .. ".ubsan")
if said ~= "" then
  io.stdout:write("UBSan complains:\n", said)
  status = 1
end
tree.remove(folder)
os.exit(status)
