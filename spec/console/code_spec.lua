-- limit: 60 s
-- lunarch -e CODE and lunarch -: the verbs of the console without a prompt, for scripts of a shell.
local etcd = require "support.etcd"
local process = require "support.process"
local tree = require "support.tree"

describe("code without a file", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local function run(...)
    local output, status = process.run { "lunarch", "--endpoints", server.endpoint, ... }
    return output, status
  end

  local function from_stdin(text)
    return process.run { "sh", "-c", 'printf %s "$2" | "$0" --endpoints "$1" -', tree.program, server.endpoint, text }
  end

  it("prints the value of an expression, and gives up what it holds", function()
    local output, status = run("-e", "6 * 7, 'x'")
    assert.same({ '42, "x"\n', 0 }, { output, status })
    output, status = run("-e", "try '/code/lock'")
    assert.equal(0, status)
    assert.matches("^lock /code/lock: held, token %d+; told to stop in", output)
    assert.equal("", (server:etcdctl("get", "--prefix", "--keys-only", "/code"):gsub("%s", "")))
    output, status = from_stdin [[
      local a = candidate("/code/e", "A")
      until_(function() return a.leads end)
      print(a.token > 0)
      leave(a)
    ]]
    assert.equal(0, status, output)
    assert.matches("\ntrue\n.*A  on_lost %(stopping%)", output)
  end)

  it("fails with a call that fails, with an error and with what is no Lua", function()
    local statuses = {
      ["nil, 'a message', 'a_code'"] = 1, ["history('/none') ~= nil"] = 0, ["switchover '/none'"] = 1,
      ["error 'no'"] = 1, ["kill(1)"] = 1, ["os.exit(7)"] = 7, ["x ="] = 2, ["client:get '/none'"] = 0,
    }
    for code, expected in pairs(statuses) do
      local output, status = run("-e", code)
      assert.equal(expected, status, code .. ": " .. output)
    end
    local output = run("-e", "kill(1)")
    assert.matches("kill: not here, because this is a real etcd, and the candidates are part of this program", output)
    assert.is_nil(output:find "traceback", output)
    assert.equal(2, select(2, from_stdin "x ="))
    assert.equal(1, select(2, from_stdin "switchover '/none'"))
  end)

  it("stands until it is told to stop", function()
    local child = process.start {
      "lunarch", "--endpoints", server.endpoint, "-e", "candidate('/code/stand', 'A', { ttl = 5 })",
    }
    child:wait_line "A  elected, token %d"
    child:signal "sigint"
    assert.equal(130, (child:wait_exit()))
    assert.matches("A  on_lost %(stopping%)", child:output())
    assert.equal("", (server:etcdctl("get", "--prefix", "--keys-only", "/code"):gsub("%s", "")))
  end)
end)
