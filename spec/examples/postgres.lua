-- PostgreSQL for the specs: where its programs are, and commands that run as a user other than root, which it refuses.
--
-- The user has none of root's rights but that of reading everything: the tree, and what ./dev unpacks into it, may lie
-- in a folder of root alone.
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"

local postgres = {}

postgres.bin = os.getenv "LUNARCH_POSTGRES" or "/usr/lib/postgresql/15/bin"

local USER = "nobody"
local AS_USER = {
  "setpriv", "--reuid", USER, "--clear-groups", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override",
}

-- `words` with what makes them run as that user before them.
---@param words table
---@return table command for process.start
function postgres.command(words)
  if uv.getuid() ~= 0 then return words end
  local command = { env = words.env }
  table.move(AS_USER, 1, #AS_USER, 1, command)
  return table.move(words, 1, #words, #command + 1, command)
end

-- Why it cannot be run here, or nil.
---@return string? problem
function postgres.problem()
  for _, program in ipairs { postgres.bin .. "/postgres", tree.program } do
    local output, ok = vm.shell(tree.quote(postgres.command { program, "--version" }) .. " 2>&1")
    if not ok then return "PostgreSQL 15 cannot be run here: " .. output end
  end
end

-- Its programs look at one another with access(2), for which it does not count what this user may read beyond others:
-- they are copied where they lie in a folder of root alone.
local function put_programs(folder)
  local link = tree.quote { "ln", "-s", postgres.bin, folder .. "/bin" }
  local look = tree.quote { "setpriv", "--reuid", USER, "--clear-groups", "test", "-x", postgres.bin .. "/initdb" }
  if uv.getuid() == 0 and not select(2, vm.shell(look)) then
    local prefix, version = postgres.bin:match "^(.*)/lib/postgresql/(%d+)/bin$"
    local copied = "cd %s && cp -r --parents lib/postgresql/%s share/postgresql/%s %s"
    link = copied:format(prefix, version, version, folder)
      .. (" && ln -s lib/postgresql/%s/bin %s/bin"):format(version, folder)
  end
  local output, ok = vm.shell(link .. " 2>&1")
  assert(ok, output)
end

-- A folder of that user, with the programs in bin.
---@return string
function postgres.folder()
  local folder = assert(uv.fs_mkdtemp "/tmp/lunarch-postgres-XXXXXX")
  put_programs(folder)
  if uv.getuid() == 0 then
    local output, ok = vm.shell(tree.quote { "chown", USER, folder } .. " 2>&1")
    assert(ok, output)
  end
  return folder
end

-- The example on host `i`, with `flags`.
---@param i integer
---@param folder string
---@param port integer
---@param flags string[]
---@return table command for process.start
function postgres.node(i, folder, port, flags)
  return postgres.command {
    env = { DIR = folder, PORT = port, LUNARCH = tree.program, PGBIN = folder .. "/bin", HOME = folder },
    tree.root .. "/examples/postgres/node.sh", tostring(i), table.unpack(flags),
  }
end

-- What a server says to `text`, and whether it could.
---@param port integer
---@param text string
---@return string output, boolean ok
function postgres.ask(port, text)
  return vm.shell(tree.quote {
    postgres.bin .. "/psql", "-qtA", "-h", "127.0.0.1", "-p", tostring(port), "-U", "postgres", "-d", "postgres",
    "-v", "ON_ERROR_STOP=1", "-c", text,
  } .. " 2>&1")
end

-- Ends the server of host `i`, should it be left.
---@param i integer
---@param folder string
function postgres.stop(i, folder)
  vm.shell(("pid=$(head -n 1 %s/%d/postmaster.pid 2>/dev/null) && kill -QUIT $pid 2>/dev/null"):format(folder, i))
end

return postgres
