-- A program on a terminal: a real pseudo-terminal (pty.c), and a screen that shows what a terminal of this size would.
--
--   local t = terminal.start({ "lunarch", "console", "--dev" }, { columns = 80, rows = 24, env = {} })
--   t:wait "> $"                     until the last line of the screen that is not empty matches
--   t:type "1+1\r"   t:resize(40, 24)
--   t:text()                         the screen, rows joined by newlines, blanks at the end left out
--   t:history()                      the same with what has scrolled off above
--   t.raw                            every byte so far
--   t:wait_exit()                    its status
--
-- The screen wraps as xterm does. When its size changes it cuts rows, or, with the option `rewraps`, wraps what is on
-- it anew, as most terminals do today. With `answers` it says where its cursor is when it is asked; "late": too late.
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local terminal = {}

-- ---- the screen -------------------------------------------------------------------------------------------------

local Screen = {}
Screen.__index = Screen

local function new_screen(columns, rows)
  local screen = setmetatable({
    columns = columns, n_rows = rows, rows = {}, gone = {}, x = 1, y = 1, rest = "",
  }, Screen)
  for y = 1, rows do
    screen.rows[y] = {}
  end
  return screen
end

local function text_of(row, columns)
  local parts = {}
  for x = 1, columns do
    parts[x] = row[x] or " "
  end
  return (table.concat(parts):gsub(" +$", ""))
end

function Screen:scroll()
  table.insert(self.gone, text_of(self.rows[1], self.columns))
  table.remove(self.rows, 1)
  self.rows[self.n_rows] = {}
end

function Screen:line_feed()
  if self.y == self.n_rows then self:scroll() else self.y = self.y + 1 end
end

function Screen:put(char)
  if self.x > self.columns then
    self.x = 1
    self.rows[self.y].continues = true
    self:line_feed()
  end
  self.rows[self.y][self.x] = char
  self.x = self.x + 1
end

function Screen:erase_row(y, from, to)
  for x = from, to do
    self.rows[y][x] = nil
  end
  if to == self.columns then self.rows[y].continues = nil end
end

local controls = {}

function controls.A(self, n) self.y = math.max(1, self.y - n) end
function controls.B(self, n) self.y = math.min(self.n_rows, self.y + n) end
function controls.C(self, n) self.x = math.min(self.columns, self.x + n) end
function controls.D(self, n) self.x = math.max(1, math.min(self.x, self.columns) - n) end
function controls.G(self, n) self.x = math.min(self.columns, n) end
function controls.d(self, n) self.y = math.min(self.n_rows, n) end

function controls.H(self, n, m)
  self.y, self.x = math.min(self.n_rows, n), math.min(self.columns, m or 1)
end

function controls.K(self, _, _, given)
  local x = math.min(self.x, self.columns)
  if given == "1" then self:erase_row(self.y, 1, x)
  elseif given == "2" then self:erase_row(self.y, 1, self.columns)
  else self:erase_row(self.y, x, self.columns) end
end

function controls.J(self, _, _, given)
  if given == "" or given == "0" then
    self:erase_row(self.y, math.min(self.x, self.columns), self.columns)
    for y = self.y + 1, self.n_rows do self.rows[y] = {} end
  else
    for y = 1, self.n_rows do self.rows[y] = {} end
  end
end

function controls.n(self, _, _, given)
  if given == "6" and self.reply then
    self.reply(("\27[%d;%dR"):format(self.y, math.min(self.x, self.columns)))
  end
end

function controls.P(self, n)
  local row = self.rows[self.y]
  for x = self.x, self.columns do row[x] = row[x + n] end
end

controls["@"] = function(self, n)
  local row = self.rows[self.y]
  for x = self.columns, self.x + n, -1 do row[x] = row[x - n] end
  for x = self.x, self.x + n - 1 do row[x] = " " end
end

function Screen:control(parameters, final)
  local first, second = parameters:match "^(%d*);?(%d*)"
  local n, m = math.tointeger(tonumber(first)) or 1, math.tointeger(tonumber(second))
  if controls[final] and not parameters:find "^[?>]" then controls[final](self, math.max(n, 1), m, first) end
end

local BYTES = {
  ["\r"] = function(self) self.x = 1 end,
  ["\n"] = Screen.line_feed,
  ["\b"] = function(self) self.x = math.max(1, math.min(self.x, self.columns) - 1) end,
  ["\a"] = function() end,
  ["\t"] = function(self) self.x = math.min(self.columns, (self.x - 1) // 8 * 8 + 9) end,
}

-- One character or sequence at `at`: what comes after it; nil: not whole yet.
function Screen:take(text, at)
  local byte = text:sub(at, at)
  if BYTES[byte] then
    BYTES[byte](self)
    return at + 1
  elseif byte == "\27" then
    local kind = text:sub(at + 1, at + 1)
    if kind == "" then return nil end
    if kind == "]" then
      local over = text:find("[\a\27]", at + 2)
      return over and over + 1
    elseif kind ~= "[" then
      return at + (kind:find "[()]" and 3 or 2)
    end
    local parameters, final, over = text:match("^([%d;?>=]*)([%a@])()", at + 2)
    if not over then return nil end
    self:control(parameters, final)
    return over
  end
  local char = text:match("^[%z\1-\127\194-\244][\128-\191]*", at) or byte
  if #char < (byte:byte() >= 240 and 4 or byte:byte() >= 224 and 3 or byte:byte() >= 194 and 2 or 1) then return nil end
  if byte:byte() >= 32 then self:put(char) end
  return at + #char
end

function Screen:write(text)
  text = self.rest .. text
  local at = 1
  while at <= #text do
    local after = self:take(text, at)
    if not after then break end
    at = after
  end
  self.rest = text:sub(at)
end

-- The rows from y on that are one line, as the characters of that line; and the row after them.
function Screen:line_at(y)
  local chars, n = {}, 0
  repeat
    local row = self.rows[y]
    for x = 1, self.columns do chars[n + x] = row[x] end
    n = n + self.columns
    y = y + 1
  until not row.continues or y > self.n_rows
  return chars, y
end

local function length_of(chars)
  local n = 0
  for i in pairs(chars) do n = math.max(n, i) end
  return n
end

-- As VTE: lines are wrapped anew, and the cursor stays at its character.
function Screen:rewrap(columns, rows)
  local found, y, cursor = {}, 1, nil
  local last_used = self.y
  while y <= last_used do
    local chars, after = self:line_at(y)
    local offset = self.y >= y and self.y < after and (self.y - y) * self.columns + self.x - 1
    local n = math.max(1, (math.max(length_of(chars), offset and offset + 1 or 0) + columns - 1) // columns)
    for i = 1, n do
      local row = { continues = i < n or nil }
      for x = 1, columns do row[x] = chars[(i - 1) * columns + x] end
      found[#found + 1] = row
      if offset and offset // columns == i - 1 then cursor = { #found, offset % columns + 1 } end
    end
    y = after
  end
  self.columns, self.n_rows, self.rows = columns, math.max(rows, #found), found
  for i = #found + 1, rows do found[i] = {} end
  self.y, self.x = cursor[1], cursor[2]
  while #found > rows do
    self:scroll()
    self.rows[self.n_rows] = nil
    self.n_rows, self.y = self.n_rows - 1, self.y - 1
  end
end

-- As xterm: rows are cut or filled, and scroll off above when there is no room for the cursor's.
function Screen:resize(columns, rows)
  while self.y > rows do
    self:scroll()
    self.y = self.y - 1
  end
  for y = rows + 1, self.n_rows do self.rows[y] = nil end
  for y = self.n_rows + 1, rows do self.rows[y] = {} end
  for _, row in ipairs(self.rows) do
    for x = columns + 1, self.columns do row[x] = nil end
  end
  self.columns, self.n_rows = columns, rows
  self.x = math.min(self.x, columns + 1)
end

function Screen:lines()
  local lines = {}
  for y = 1, self.n_rows do
    lines[y] = text_of(self.rows[y], self.columns)
  end
  while lines[1] and lines[#lines] == "" do
    lines[#lines] = nil
  end
  return lines
end

-- ---- the program ------------------------------------------------------------------------------------------------

local LATE_MS = 200

local Terminal = {}
Terminal.__index = Terminal

local alive = {}

---@param words string[] "lunarch" is the program built here
---@param options? table columns, rows, env
function terminal.start(words, options)
  options = options or {}
  local columns, rows = options.columns or 80, options.rows or 24
  local command = { "--pdeathsig", "KILL", tree.build .. "/unit/pty", tostring(columns), tostring(rows) }
  for i, word in ipairs(words) do
    command[#command + 1] = i == 1 and word == "lunarch" and tree.program or word
  end
  local changes = { TERM = "xterm", NO_COLOR = "1", XDG_STATE_HOME = tree.folder(), INPUTRC = "/dev/null" }
  for name, value in pairs(options.env or {}) do
    changes[name] = value
  end
  local self = setmetatable({ raw = "", screen = new_screen(columns, rows), told = "" }, Terminal)
  self.stdin, self.stdout, self.stderr = uv.new_pipe(), uv.new_pipe(), uv.new_pipe()
  self.handle = assert(uv.spawn("setpriv", {
    args = command, env = tree.environment(changes), stdio = { self.stdin, self.stdout, self.stderr },
  }, function(status, signal)
    self.status = signal ~= 0 and 128 + signal or status
    alive[self] = nil
  end))
  self.stdout:read_start(function(_, bytes)
    if not bytes then return end
    self.raw = self.raw .. bytes
    self.screen:write(bytes)
  end)
  self.stderr:read_start(function(_, bytes) self.told = self.told .. (bytes or "") end)
  self.rewraps = options.rewraps
  if options.answers then self.screen.reply = function(text) self:answer(text, options.answers == "late") end end
  alive[self] = true
  return self
end

--- Hangs up on all that were started here and still live. For after_each.
function terminal.end_all()
  for self in pairs(alive) do
    self.handle:kill "sigkill"
    self:wait_exit()
  end
end

function Terminal:order(line)
  self.stdin:write(line .. "\n")
end

---@param text string
function Terminal:type(text)
  self:order("t " .. text:gsub(".", function(char) return ("%02x"):format(char:byte()) end))
end

-- Late: after the program has given it up, and in two pieces.
function Terminal:answer(text, is_late)
  if not is_late then return self:type(text) end
  for delay_ms, piece in pairs { [LATE_MS] = text:sub(1, 3), [2 * LATE_MS] = text:sub(4) } do
    local timer = uv.new_timer()
    timer:start(delay_ms, 0, function()
      timer:close()
      if not self.status then self:type(piece) end
    end)
  end
end

-- The screen changes before the program hears of it, as a terminal's does.
function Terminal:resize(columns, rows)
  if self.rewraps then self.screen:rewrap(columns, rows) else self.screen:resize(columns, rows) end
  self:order(("s %d %d"):format(columns, rows))
end

-- The process on the terminal.
---@return integer
function Terminal:pid()
  if not self.known_pid then
    self.told = ""
    self:order "p"
    self.known_pid = wait.eventually(function() return math.tointeger(tonumber(self.told:match "^(%d+)\n")) end)
  end
  return self.known_pid
end

function Terminal:lines()
  return self.screen:lines()
end

function Terminal:text()
  return table.concat(self.screen:lines(), "\n")
end

function Terminal:history()
  local lines = { table.unpack(self.screen.gone) }
  for _, line in ipairs(self.screen:lines()) do
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

local function fail(self, what)
  error(("%s; the screen was:\n%s"):format(what, self:history()), 3)
end

--- Until the last line that is not empty matches.
---@param pattern string
function Terminal:wait(pattern)
  local ok = pcall(wait.eventually, function()
    local lines = self:lines()
    return lines[#lines] and lines[#lines]:find(pattern)
  end)
  if not ok then fail(self, ("the last line never matched '%s'"):format(pattern)) end
end

--- Until the screen, or what has scrolled off it, matches.
---@param pattern string
function Terminal:wait_text(pattern)
  local ok, found = pcall(wait.eventually, function() return self:history():match(pattern) end)
  if not ok then fail(self, ("nothing matched '%s'"):format(pattern)) end
  return found
end

--- Types a line, and waits for the prompt after it.
---@param line string
---@param prompt? string a pattern
function Terminal:enter(line, prompt)
  local n = select(2, self.raw:gsub("\n", ""))
  self:type(line .. "\r")
  wait.eventually(function() return select(2, self.raw:gsub("\n", "")) > n end)
  self:wait(prompt or "> ?$")
end

---@return integer status
function Terminal:wait_exit()
  local ok = pcall(wait.eventually, function() return self.status end)
  if not ok then fail(self, "the program did not end") end
  return self.status
end

return terminal
