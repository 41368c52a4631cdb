-- Bells: a client's descriptor turned into bytes on a socket, for loops that can only read sockets.
local core = require "lunarch.core"
local fixture = require "support.fixture"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("a bell", function()
  local client

  setup(function() client = fixture.open() end)
  teardown(fixture.close)

  local function listen(path)
    local heard = { n = 0 }
    local pipe = uv.new_pipe(false)
    pipe:connect(path, function(err)
      heard.error = err
      if err then return end
      pipe:read_start(function(_, data)
        heard.n = heard.n + (data and #data or 0)
        heard.is_over = not data
      end)
    end)
    heard.pipe = pipe
    return heard
  end

  local function hear(heard, n)
    wait.eventually(function() return heard.n >= n end, nil, "the bell")
  end

  it("rings once for each batch of answers, and for those that came before somebody listened", function()
    local folder = tree.folder()
    local bell, path = core.bell(folder)
    bell:hear(client:pollfd())
    local heard = listen(path)
    hear(heard, 1)
    for _ = 1, 3 do
      client._core:drain {}
      local before = heard.n
      client._core:kv({ kind = 1, key = "/bell", value = "v" }, 5000)
      hear(heard, before + 1)
      wait.holds(function() return heard.n <= before + 2 end, 0.02)
    end
    bell:close()
    wait.eventually(function() return heard.is_over end)
    heard.pipe:close()
  end)

  it("leaves no file once somebody listens, and none when nobody ever did", function()
    local folder = tree.folder()
    local bell, path = core.bell(folder)
    assert.equal("socket", uv.fs_stat(path).type)
    assert.equal(448, uv.fs_stat((path:match "^(.*)/")).mode % 512)
    local heard = listen(path)
    wait.eventually(function() return not uv.fs_stat((path:match "^(.*)/")) end)
    bell:close()
    heard.pipe:close()
    local other = core.bell(folder)
    other:close()
    assert.is_nil((uv.fs_scandir_next(uv.fs_scandir(folder))))
  end)

  it("lets nobody listen but its own process", function()
    local bell, path = core.bell(tree.folder())
    local output = process.run { "lua5.4", "-e", ([[
      local uv = require "luv"
      local pipe = uv.new_pipe(false)
      pipe:connect("%s", function(err)
        assert(not err, err)
        pipe:read_start(function(_, data)
          print(data and "heard" or "turned away")
          pipe:close()
        end)
      end)
      uv.run()
    ]]):format(path) }
    assert.equal("turned away\n", output)
    bell:hear(client:pollfd())
    local heard = listen(path)
    hear(heard, 1)
    bell:close()
    heard.pipe:close()
  end)

  it("cannot be hung up where there is no room for it, and is of no use once closed", function()
    local bell, message = core.bell "/nowhere"
    assert.is_nil(bell)
    assert.matches("a socket in /nowhere: No such file or directory", message)
    bell, message = core.bell(("x"):rep(200))
    assert.is_nil(bell)
    assert.matches("File name too long", message)
    bell = core.bell(tree.folder())
    bell:close()
    bell:close()
    assert.error_matches(function() bell:ring() end, "it is closed")
  end)
end)
