local process = require "support.process"
local tree = require "support.tree"

-- It is written down once, in the public header; whatever else names it has it from there.
describe("the version", function()
  local written = tree.read(tree.root .. "/src/lunarch.h"):match '#define LUN_VERSION "([%d.]+)"'

  local function said_by(...)
    local output, status = process.run { limit = 60, ... }
    assert.equal(0, status, output)
    return output:match "%d+%.%d+%.%d+"
  end

  it("is the program's", function()
    assert.equal(written, said_by(tree.program, "--version"))
  end)

  it("is the module's", function()
    assert.equal(written, require("lunarch").version)
    assert.equal("lunarch " .. written, require("lunarch")._VERSION)
  end)

  it("is the C library's, for pkg-config and in its file name", function()
    local pc = tree.build .. "/lib/pkgconfig/lunarch.pc"
    assert.equal(written, tree.read(pc):match "Version: (%S+)")
    assert.truthy(tree.read(tree.build .. "/lib/liblunarch.so." .. written) ~= "")
  end)

  it("is the Debian package's", function()
    local config = tree.read(tree.build .. "/CPackConfig.cmake")
    assert.equal(written, config:match 'CPACK_PACKAGE_VERSION "([%d.]+)"')
  end)

  it("is what the newest part of the changelog is about", function()
    assert.equal(written, tree.read(tree.root .. "/CHANGELOG.md"):match "\n## (%d[%d.]*)")
  end)

  it("is nowhere else, but in the changelog", function()
    local files = process.run {
      limit = 60, "grep", "-rlF", '"' .. written .. '"', tree.root .. "/src", tree.root .. "/lua",
      tree.root .. "/proto", tree.root .. "/packaging", tree.root .. "/examples", tree.root .. "/CMakeLists.txt",
      tree.root .. "/lunarch-scm-1.rockspec" }
    assert.equal(tree.root .. "/src/lunarch.h\n", files)
  end)
end)
