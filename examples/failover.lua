-- Failover: start it on several hosts. One of them is elected and works; when it stops, dies or is cut off, another
-- takes over.
--
--   lunarch examples/failover.lua --name A --dev       and the same with --name B in a second terminal
--
-- Each term of office goes on_elected, do_work, do_work, ..., on_lost, in this order and never two at once. A leader
-- that may no longer be one is told so before anybody else can be elected.
election = "/services/billing"
ttl      = 10

function on_elected(term)       log.info("elected, token %d", term.token) end
function do_work(term)
  local ok, why = term:put("/config/billing", term.value)     -- refused by etcd once we no longer lead
  log.info("working: %s", ok and "written" or why)
  return 1                                                    -- seconds until the next call
end
function on_lost(term, reason)  log.warn("lost: %s", reason) end
function on_leader(leader)      log.info("leader is %s", leader.value or "nobody") end
