-- The middle of some figures, which are sorted; of an even number of them the mean of the middle two.
---@param figures number[]
---@return number
return function(figures)
  table.sort(figures)
  local middle = (#figures + 1) // 2
  return #figures % 2 == 1 and figures[middle] or (figures[middle] + figures[middle + 1]) / 2
end
