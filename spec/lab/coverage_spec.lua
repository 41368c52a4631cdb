-- Every verb of the console in every world: the world has it, and a spec of that world types it; or it says why not,
-- which the specs of verbs go through one by one.
local cases = require "lab.cases"
local tree = require "support.tree"
local verbs = require "lunarch.console.verbs"

-- Where it is looked for: what is typed in the cases, and in the specs of the world.
local function typed_in(lists, files)
  local parts = {}
  for _, list in ipairs(lists) do
    for _, case in ipairs(list) do
      parts[#parts + 1] = table.concat(case[2], "\n")
    end
  end
  for _, file in ipairs(files) do
    parts[#parts + 1] = tree.read(tree.root .. "/spec/" .. file):gsub("\\n", "\n")
  end
  return table.concat(parts, "\n")
end

local ON_ETCD = { "console/verbs_spec.lua" }
local WORLDS = {
  cluster = typed_in({}, ON_ETCD), dev = typed_in({}, ON_ETCD),
  lab = typed_in({ cases.both }, {}), sim = typed_in({ cases.both, cases.sim }, {}),
}

describe("a verb", function()
  for world, text in pairs(WORLDS) do
    it("is typed by a spec of the world " .. world .. " that has it, whichever it is", function()
      local n = 0
      for name, verb in pairs(verbs.by_name) do
        if not verb.worlds or verb.worlds[world] then
          n = n + 1
          assert.truthy(text:find("%f[%w_]" .. name .. "%s*[(%%\"']"), name)
        else
          assert.matches("^" .. name .. ": not here, because .+; `lunarch console %-%-", verbs.sentence_without(verb, {
            name = world,
          }))
        end
      end
      assert.truthy(n >= 17, n)
    end)
  end
end)
