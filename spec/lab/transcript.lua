-- The transcripts of examples/lab/README.md: what stands in them is what the commands print.
--
--   LUNARCH_WRITE=1 ./dev test spec/lab/transcript     writes them anew
--
-- A block of the README that begins with "$ " is a transcript. Commands stand behind "$ ", lines that are typed at the
-- console behind "sim> "; the rest is what was printed.
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"

local transcript = {}

local PROMPT = "sim> "
local MARK = "<- to here ->"

-- Commands run in the root of the tree, with our program on the PATH.
local function run(command)
  local words = { "sh", "-c", ('cd "%s" && PATH="%s:$PATH" && %s'):format(tree.root, tree.build .. "/bin", command) }
  local output = process.run(words)
  return output
end

local function lines_of(text)
  local lines = {}
  for line in (text:gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
    lines[#lines + 1] = line
  end
  return text == "" and {} or lines
end

local function split(text)
  local parts, at = {}, 1
  while true do
    local from, to = text:find(MARK .. "\n", at, true)
    if not from then
      parts[#parts + 1] = text:sub(at)
      return parts
    end
    parts[#parts + 1] = text:sub(at, from - 1)
    at = to + 1
  end
end

-- The block of a console session: each line that is typed, and what was printed for it.
local function play_console(command, typed)
  local input = {}
  for i, line in ipairs(typed) do
    input[2 * i - 1], input[2 * i] = line, ('print "%s"'):format(MARK)
  end
  local path = script.write(table.concat(input, "\n") .. "\n", "session.txt")
  local printed = split(run(("%s < '%s'"):format(command, path)))
  local lines = { "$ " .. command }
  for i, line in ipairs(typed) do
    lines[#lines + 1] = PROMPT .. line
    for _, part in ipairs(lines_of(printed[i] or "")) do
      lines[#lines + 1] = part
    end
  end
  return lines
end

--- The block anew.
---@param block string
---@return string
function transcript.play(block)
  local played, typed, console = {}, {}, nil
  local function end_console()
    if console then table.move(play_console(console, typed), 1, 1e4, #played + 1, played) end
    console, typed = nil, {}
  end
  for _, line in ipairs(lines_of(block)) do
    local command = line:match "^%$ (.*)"
    if command then end_console() end
    if command and command:find "^lunarch console" then
      console = command
    elseif command then
      played[#played + 1] = line
      for _, part in ipairs(lines_of(run(command))) do
        played[#played + 1] = part
      end
    elseif line:sub(1, #PROMPT) == PROMPT then
      typed[#typed + 1] = line:sub(#PROMPT + 1)
    end
  end
  end_console()
  return table.concat(played, "\n") .. "\n"
end

--- The text with each of its transcripts played anew.
---@param text string
---@return string
function transcript.refresh(text)
  return (text:gsub("(\n```\n)(%$ .-\n)(```\n)", function(head, block, tail)
    return head .. transcript.play(block) .. tail
  end))
end

--- What may differ from run to run, and when the renewals of the core move: numbers, the ids of leases, the bars of a
--- chart, and the order of what happens in the same moment.
---@param text string
---@return string
function transcript.normal(text)
  text = text:gsub("%f[%x]%x%x%x%x%x%x%x%x+%f[^%x]", "0"):gsub("[=~.%-SVX]+", "="):gsub("%d+", "0"):gsub("[ =]+", " ")
  local lines = lines_of(text)
  table.sort(lines)
  return table.concat(lines, "\n")
end

return transcript
