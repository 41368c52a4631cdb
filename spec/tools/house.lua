-- What the house asks of every file, checked:
--   a source of C says in its first ten lines what it is for;
--   no file is longer than 600 lines (annotations apart);
--   files that call or require each other in a circle stand on one floor, there is one such circle on a floor, and one
--   of its files gives the reason at its head, with the words "a circle".
--   lua5.4 spec/tools/house.lua ROOT BUILD     prints what is wrong; status 1 if anything is
local house = {}

local MOST_LINES = 600
local HEAD_LINES = 10

-- Words that name nobody, and names that are gone.
local NO_WORDS = { "whoever", "somebody", "told of", "to be had", "umpire", "simlua", "client_open" }

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  pipe:close()
  return lines
end

local function files_in(root, folders, pattern)
  return lines_of(("cd '%s' && find %s -type f -name '%s' 2>/dev/null | sort"):format(root, folders, pattern))
end

local function head_of(path)
  local head, n = {}, 0
  for line in io.lines(path) do
    n = n + 1
    if n <= HEAD_LINES then head[n] = line end
  end
  return table.concat(head, "\n"), n
end

-- ---- heads and sizes ------------------------------------------------------------------------------------------------

--- What is wrong with the head of `path`, or nil.
function house.trouble_with_head(path, head)
  local name = path:match "[^/]+$"
  local text = head:match "^/%* ?[%w_/]*(.*)"
  if not text or not head:find("^/%* [%w_/]*" .. name:gsub("%p", "%%%0") .. " %- ") then
    return ("its first line has to be \"/* %s - what it is for\""):format(name)
  end
  local purpose = head:match " %- (.*)"
  if #purpose < 20 or purpose:match "^see [%w_/]+%.h" then return "its head does not say what it is for" end
  for _, word in ipairs(NO_WORDS) do
    if head:lower():find(word, 1, true) then return ("its head says \"%s\""):format(word) end
  end
  return nil
end

local function check_files(root, found)
  for _, path in ipairs(files_in(root, "src lua spec examples", "*.*")) do
    local is_c = path:match "%.c$"
    if is_c or path:match "%.[hl]u?a?$" then
      local head, n = head_of(root .. "/" .. path)
      local trouble = is_c and path:match "^src/" and house.trouble_with_head(path, head)
      if trouble then found[#found + 1] = path .. ": " .. trouble end
      if n > MOST_LINES and not path:match "^lua/lunarch/library/" then
        found[#found + 1] = ("%s: %d lines, %d are the most"):format(path, n, MOST_LINES)
      end
    end
  end
end

-- ---- circles --------------------------------------------------------------------------------------------------------

--- The circles of a graph { node = { node = true, ... } }: lists of nodes that reach each other (Tarjan).
function house.circles(graph)
  local index, low, stack, on_stack, n, circles = {}, {}, {}, {}, 0, {}
  local function visit(node)
    n = n + 1
    index[node], low[node] = n, n
    stack[#stack + 1] = node
    on_stack[node] = true
    for other in pairs(graph[node] or {}) do
      if not index[other] then
        visit(other)
        low[node] = math.min(low[node], low[other])
      elseif on_stack[other] then
        low[node] = math.min(low[node], index[other])
      end
    end
    if low[node] ~= index[node] then return end
    local circle = {}
    repeat
      local member = table.remove(stack)
      on_stack[member] = nil
      circle[#circle + 1] = member
    until member == node
    table.sort(circle)
    if circle[2] then circles[#circles + 1] = circle end
  end
  local nodes = {}
  for node in pairs(graph) do
    nodes[#nodes + 1] = node
  end
  table.sort(nodes)
  for _, node in ipairs(nodes) do
    if not index[node] then visit(node) end
  end
  return circles
end

local function folder_of(path)
  return path:match "^(.*)/[^/]*$"
end

-- The source below src/ that an object was made of, or nil: of another target, or of a source that is gone.
local function source_of(object, is_source)
  local source = object:match "/src/.*CMakeFiles/[^/]+%.dir/(.+)%.o$"
  local folder = object:match "/src/(.-)/?CMakeFiles/"
  source = source and "src/" .. (folder ~= "" and folder .. "/" or "") .. source
  return is_source[source] and source or nil
end

-- Which sources name what which other ones define, from the objects of a build. Some sources are in several targets.
local function calls_of(root, build)
  local is_source, object_of, defined, wanted = {}, {}, {}, {}
  for _, path in ipairs(files_in(root, "src", "*.c")) do
    is_source[path] = true
  end
  local pipe = assert(io.popen(("find '%s/src' -name '*.c.o' -print0 | sort -z | xargs -0 nm -A"):format(build)))
  for line in pipe:lines() do
    local object, kind, name = line:match "^(.-):.*(%a) (%S+)$"
    local source = object and source_of(object, is_source)
    if source then object_of[source] = object_of[source] or object end
    if source and object_of[source] == object then
      wanted[source] = wanted[source] or {}
      if kind == "U" then wanted[source][name] = true end
      if kind:match "[TDBRC]" then
        defined[name] = defined[name] or {}
        table.insert(defined[name], source)
      end
    end
  end
  pipe:close()
  return wanted, defined
end

-- What two files define stands for two implementations: who calls it calls neither of them.
function house.call_graph(root, build)
  local wanted, defined = calls_of(root, build)
  local graph = {}
  for source, names in pairs(wanted) do
    graph[source] = {}
    for name in pairs(names) do
      local sources = defined[name]
      if sources and not sources[2] and sources[1] ~= source then graph[source][sources[1]] = true end
    end
  end
  return graph
end

-- Requires of ours, wherever in the file. What is required by the name that users know is used as users use it.
function house.require_graph(root)
  local graph, path_of = {}, {}
  for _, path in ipairs(files_in(root, "lua", "*.lua")) do
    path_of[(path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))] = path
  end
  for module, path in pairs(path_of) do
    graph[path] = {}
    local file = assert(io.open(root .. "/" .. path))
    for name in file:read("a"):gmatch "require%s*%(?%s*[\"']([%w_.]+)[\"']" do
      if path_of[name] and name ~= module and name ~= "lunarch" then graph[path][path_of[name]] = true end
    end
    file:close()
  end
  return graph
end

--- What is wrong with the circles of `graph`; `head_of_file(path)`.
function house.trouble_with_circles(graph, head_of_file)
  local found, seen = {}, {}
  for _, circle in ipairs(house.circles(graph)) do
    local floor, has_reason = folder_of(circle[1]), false
    for _, path in ipairs(circle) do
      if folder_of(path) ~= floor then
        found[#found + 1] = ("%s and %s need each other, and are of different floors"):format(circle[1], path)
      end
      has_reason = has_reason or head_of_file(path):lower():find("a circle", 1, true) ~= nil
    end
    if not has_reason then
      found[#found + 1] = "a circle without a reason at the head of one of its files: " .. table.concat(circle, ", ")
    end
    if seen[floor] then found[#found + 1] = ("%s has a second circle: %s"):format(floor, table.concat(circle, ", ")) end
    seen[floor] = true
  end
  return found
end

-- The comment at the top of a file, however long.
local function comment_of(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return path:match "%.lua$" and text:match "^(%-%-.-\n)%f[^%-\n]" or text:match "^/%*.-%*/" or ""
end

--- All that is wrong in the tree below `root`; `build`: where it was built.
function house.check(root, build)
  local found = {}
  check_files(root, found)
  local function head(path) return comment_of(root .. "/" .. path) end
  for _, graph in ipairs { house.call_graph(root, build), house.require_graph(root) } do
    for _, text in ipairs(house.trouble_with_circles(graph, head)) do
      found[#found + 1] = text
    end
  end
  return found
end

if arg and arg[0] and arg[0]:match "house%.lua$" then
  local found = house.check(arg[1] or ".", arg[2] or "build/dev")
  for _, text in ipairs(found) do
    io.stderr:write(text, "\n")
  end
  os.exit(#found == 0 and 0 or 1)
end

return house
