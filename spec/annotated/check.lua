-- ./dev check: the annotations, the module and the examples read by a checker (emmylua_check), and a script and an
-- experiment with planted mistakes, all of which it must find:  lua5.4 check.lua ROOT CHECKER
--
-- The checker does not carry what script.d.lua declares of a global into the script that defines it, as editors do: the
-- scripts are checked with those lines written before their definitions.
local json = require "cjson"
local uv = require "luv"

local root, checker = arg[1], arg[2]
local WORK = root .. "/build/annotated"
-- A script and an experiment have globals of the same names (candidate, name), so each is read beside its own alone.
local KINDS = {
  { name = "scripts", without = { "console" }, mistakes = "mistakes.lua", n_mistakes = 5 },
  { name = "experiments", without = { "script", "sim" }, mistakes = "mistakes_lab.lua", n_mistakes = 4 },
}
local EXPERIMENTS = "examples/lab/"

-- Off: what a script that asserts little is full of, and what a machine may lack.
local OFF_IN_SCRIPTS = {
  "need-check-nil", "call-non-callable", "await-in-sync", "unnecessary-if", "unresolved-require", "unused",
}
-- Of the module itself only the annotations are the matter.
local ON_IN_MODULE = {
  ["syntax-error"] = true, ["doc-syntax-error"] = true, ["type-not-found"] = true, ["missing-parameter"] = true,
  ["redundant-parameter"] = true, ["undefined-doc-param"] = true, ["duplicate-doc-field"] = true,
  ["annotation-usage-error"] = true, ["circle-doc-class"] = true,
}
-- Programs rather than scripts: they tinker with `arg` and other programs.
local NO_SCRIPTS = { ["demo.lua"] = true, ["start.lua"] = true }

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- What script.d.lua says of each global: the lines before a handler's definition, or before a setting's.
local function declarations()
  local found, lines = {}, {}
  for line in (read(root .. "/lua/lunarch/library/script.d.lua") .. "\n"):gmatch "([^\n]*)\n" do
    local name = line:match "^function ([%w_]+)%(" or line:match "^([%w_]+) = nil$"
    if line:find "^%-%-%-@" then lines[#lines + 1] = line end
    if name then found[name] = lines end
    if not line:find "^%-%-%-" then lines = {} end
  end
  return found
end

local function parameters(line)
  local list = {}
  for name in (line:match "^function [%w_]+%((.-)%)" or ""):gmatch "[%w_]+" do
    list[#list + 1] = name
  end
  return list
end

-- A script with the declarations written in; and the line each of its lines was.
local function annotate(text, declared)
  local out, origin, number = {}, {}, 0
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    local name = line:match "^function ([%w_]+)%(" or line:match "^([%w_]+) = "
    local given, n_params = parameters(line), 0
    for _, declaration in ipairs(declared[name] or {}) do
      if declaration:find "^%-%-%-@param" then
        n_params = n_params + 1
        -- By the script's own name for it; a handler may leave out what it has no use for.
        local own = given[n_params]
        declaration = own and declaration:gsub("^(%-%-%-@param )[%w_]+", "%1" .. own)
      end
      if declaration then
        out[#out + 1], origin[#origin + 1] = declaration, number
      end
    end
    out[#out + 1], origin[#origin + 1] = line, number
  end
  return table.concat(out, "\n"), origin
end

local function scripts_below(folder, visit)
  local scan = uv.fs_scandir(root .. "/" .. folder)
  for name, kind in function() return uv.fs_scandir_next(scan) end do
    if kind == "directory" then
      scripts_below(folder .. "/" .. name, visit)
    elseif name:find "%.lua$" and not NO_SCRIPTS[name] then
      visit(folder .. "/" .. name)
    end
  end
end

-- The findings of the checker in a workspace: { file, line, code, message }, hints apart.
local function findings_in(workspace)
  local pipe = assert(io.popen(("'%s' -f json --severity warn '%s' 2>/dev/null"):format(checker, workspace)))
  local text = pipe:read "a"
  pipe:close()
  local found = {}
  for _, file in ipairs(json.decode(text:match "^%s*(%[.*%])%s*")) do
    for _, one in ipairs(file.diagnostics) do
      found[#found + 1] = {
        file = file.file:sub(#workspace + 2), line = one.range.start.line + 1, code = one.code, message = one.message,
      }
    end
  end
  return found
end

local function prepare(workspace, off)
  assert(os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(workspace, workspace)))
  write(workspace .. "/.emmyrc.json", json.encode {
    runtime = { version = "Lua5.4" }, diagnostics = { disable = off, globals = { "arg" } },
  })
end

local n_troubles = 0

local function complain(...)
  n_troubles = n_troubles + 1
  io.stderr:write("  ", ("%s:%d: %s [%s]"):format(...):gsub("%s+", " "), "\n")
end

-- The lines that say `mistake:`, as a set.
local function marked_lines(path)
  local marked, number = {}, 0
  for line in read(root .. "/" .. path):gmatch "([^\n]*)\n" do
    number = number + 1
    if line:find "%-%- mistake:" then marked[number] = true end
  end
  return marked
end

local function copy_library(workspace, without)
  assert(os.execute(("cp -r '%s/lua/lunarch/library' '%s'"):format(root, workspace)))
  for _, name in ipairs(without) do
    assert(os.remove(("%s/library/%s.d.lua"):format(workspace, name)))
  end
end

-- The examples of a kind and its planted mistakes in a workspace: where each of its files came from.
local function fill(workspace, kind)
  local origins, declared = {}, kind.name == "scripts" and declarations() or {}
  local function add(path)
    local name = path:gsub("/", ".")
    local text, lines = annotate(read(root .. "/" .. path), declared)
    origins[name] = { path = path, lines = lines }
    write(workspace .. "/" .. name, text)
  end
  scripts_below("examples", function(path)
    if (path:sub(1, #EXPERIMENTS) == EXPERIMENTS) == (kind.name == "experiments") then add(path) end
  end)
  add("spec/annotated/" .. kind.mistakes)
  return origins
end

local function check_scripts(kind)
  local workspace, planted = WORK .. "/" .. kind.name, "spec/annotated/" .. kind.mistakes
  prepare(workspace, OFF_IN_SCRIPTS)
  copy_library(workspace, kind.without)
  local origins, marked, n_found = fill(workspace, kind), marked_lines(planted), 0
  for _, one in ipairs(findings_in(workspace)) do
    local from = origins[one.file]
    local line = from and from.lines[one.line] or one.line
    if from and from.path == planted and marked[line] then
      marked[line], n_found = nil, n_found + 1
    else
      complain(from and from.path or "lua/lunarch/" .. one.file, line, one.message, one.code)
    end
  end
  if n_found ~= kind.n_mistakes then
    complain(planted, 1, ("only %d of %d were found"):format(n_found, kind.n_mistakes), "planted")
    for line in pairs(marked) do
      complain(planted, line, "was not found", "planted")
    end
  end
end

local function check_module()
  local workspace = WORK .. "/module"
  prepare(workspace, {})
  assert(os.execute(("cp -r '%s/lua/lunarch' '%s/lua/resty' '%s'"):format(root, root, workspace)))
  for _, one in ipairs(findings_in(workspace)) do
    if ON_IN_MODULE[one.code] then complain("lua/" .. one.file, one.line, one.message, one.code) end
  end
end

for _, kind in ipairs(KINDS) do
  check_scripts(kind)
end
check_module()
os.exit(n_troubles == 0 and 0 or 1)
