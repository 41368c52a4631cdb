-- Master and slave: each instance says who the leader is, and what it is itself.
--
--   lunarch examples/election.lua --name A --dev       and in a second terminal with --name B
--
-- Press Ctrl-C in the master's terminal: it hands over in order, and the other is the master milliseconds later. Kill
-- it with -9 instead: the other has to wait until the master's lease has run out.
election = "/examples/election"
ttl      = 5

function on_leader(leader)
  if not leader.value then
    log.info "there is no master"
  elseif leader.is_me then
    log.info("the master is %s: I am the master", leader.value)
  else
    log.info("the master is %s: I am a slave", leader.value)
  end
end

-- The master's work would go here, and into do_work.
function on_elected(term)
  log.info("what I write now is ordered by my token, %d", term.token)
end
