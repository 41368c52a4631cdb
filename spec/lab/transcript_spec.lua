-- limit: 120 s
-- examples/lab/README.md: its transcripts are what the commands print today.
local process = require "support.process"
local transcript = require "lab.transcript"
local tree = require "support.tree"

describe("examples/lab/README.md", function()
  after_each(process.end_all)

  local path = tree.root .. "/examples/lab/README.md"

  it("shows what its commands print", function()
    local text = tree.read(path)
    local fresh = transcript.refresh(text)
    if os.getenv "LUNARCH_WRITE" then
      local file = assert(io.open(path, "w"))
      file:write(fresh)
      file:close()
      return
    end
    assert.equal(transcript.normal(text), transcript.normal(fresh))
  end)

  it("names every experiment of the folder, and every picture", function()
    local text = tree.read(path)
    for name in io.popen("ls " .. tree.quote { tree.root .. "/examples/lab" }):lines() do
      if name ~= "README.md" then assert.is_truthy(text:find("(" .. name .. ")", 1, true), name) end
    end
  end)
end)
