local house = require "tools.house"
local root = os.getenv "LUNARCH_ROOT"

describe("the house", function()
  it("is in order", function()
    assert.equal("", table.concat(house.check(root, os.getenv "LUNARCH_BUILD"), "\n"))
  end)

  it("asks each source what it is for", function()
    local function trouble(head) return house.trouble_with_head("src/base/heap.c", head) end
    assert.is_nil(trouble "/* base/heap.c - a binary min-heap of instants, for the timers. */")
    assert.is_nil(trouble "/* heap.c - a binary min-heap of instants, for the timers. */")
    assert.matches("first line", trouble "#include <stdio.h>")
    assert.matches("first line", trouble "/* base/pool.c - a binary min-heap of instants, for the timers. */")
    assert.matches("what it is for", trouble "/* base/heap.c - see base/heap.h. */")
    assert.matches('says "whoever"', trouble "/* base/heap.c - timers for whoever wants to be called at an instant. */")
  end)

  it("finds circles", function()
    local graph = { a = { b = true }, b = { c = true }, c = { a = true, d = true }, d = {}, e = { d = true, f = true } }
    assert.same({ { "a", "b", "c" } }, house.circles(graph))
  end)

  local function troubles(graph, heads)
    return table.concat(house.trouble_with_circles(graph, function(path) return heads and heads[path] or "" end), "\n")
  end

  it("wants a reason for a circle", function()
    local graph = { ["src/x/a.c"] = { ["src/x/b.c"] = true }, ["src/x/b.c"] = { ["src/x/a.c"] = true } }
    assert.matches("without a reason", troubles(graph))
    assert.equal("", troubles(graph, { ["src/x/b.c"] = "/* b.c - ... A circle with a.c: each needs the other. */" }))
  end)

  it("lets no circle cross floors, and no floor have two", function()
    local heads = { ["src/x/a.c"] = "a circle", ["src/x/c.c"] = "a circle" }
    local two = {
      ["src/x/a.c"] = { ["src/x/b.c"] = true }, ["src/x/b.c"] = { ["src/x/a.c"] = true },
      ["src/x/c.c"] = { ["src/x/d.c"] = true }, ["src/x/d.c"] = { ["src/x/c.c"] = true },
    }
    assert.matches("src/x has a second circle", troubles(two, heads))
    local across = { ["src/x/a.c"] = { ["src/y/b.c"] = true }, ["src/y/b.c"] = { ["src/x/a.c"] = true } }
    assert.matches("are of different floors", troubles(across, heads))
  end)

  it("sees calls in what was built, and requires in Lua", function()
    local calls = house.call_graph(root, os.getenv "LUNARCH_BUILD")
    assert.is_true(calls["src/etcd/kv.c"]["src/etcd/call.c"])
    assert.is_nil(calls["src/etcd/call.c"]["src/etcd/kv.c"])
    local requires = house.require_graph(root)
    assert.is_true(requires["lua/lunarch/mutex.lua"]["lua/lunarch/loop/init.lua"])
  end)
end)
