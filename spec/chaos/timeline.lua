local timeline = {}
function timeline.svg() return "<svg/>" end
return timeline
