-- The mutants are patches of sources that go on changing: each must still fit, or ./dev prove --mutants shows nothing.

local root = os.getenv "LUNARCH_ROOT"

local function lines_of(path)
  local lines = {}
  for line in assert(io.open(path)):lines() do
    lines[#lines + 1] = line
  end
  return lines
end

-- What a patch expects to find: for each file the pieces, in order, as lists of lines.
local function expectations(path)
  local files, piece = {}, nil
  for _, line in ipairs(lines_of(path)) do
    local file = line:match "^%-%-%- a/(%S+)"
    if file then
      files[#files + 1] = { path = file, pieces = {} }
    elseif line:find "^@@ " then
      piece = {}
      local pieces = files[#files].pieces
      pieces[#pieces + 1] = piece
    elseif piece and line:find "^[ -]" and not line:find "^%-%-%- " then
      piece[#piece + 1] = line:sub(2)
    end
  end
  return files
end

local function stands_at(lines, from, piece)
  for i, line in ipairs(piece) do
    if lines[from + i - 1] ~= line then
      return false
    end
  end
  return true
end

local function find(lines, from, piece)
  for i = from, #lines - #piece + 1 do
    if stands_at(lines, i, piece) then
      return i
    end
  end
end

describe("the mutants of the prover", function()
  local names = {}
  for name in assert(io.popen('ls "' .. root .. '/spec/seeds/mutants"')):lines() do
    names[#names + 1] = name
  end

  it("are at least sixteen", function()
    assert.is_true(#names >= 16)
  end)

  for _, name in ipairs(names) do
    it("still fit: " .. name, function()
      for _, file in ipairs(expectations(root .. "/spec/seeds/mutants/" .. name)) do
        local lines, from = lines_of(root .. "/" .. file.path), 1
        for i, piece in ipairs(file.pieces) do
          from = find(lines, from, piece)
          assert.is_truthy(from, ("piece %d does not fit %s: make the patch anew"):format(i, file.path))
        end
      end
    end)
  end
end)
