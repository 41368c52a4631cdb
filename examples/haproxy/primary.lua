-- The leader takes the load: HAProxy asks every host on /leader whether it leads.
--
--   lunarch run primary.lua --name "$(hostname)" --listen 0.0.0.0:8008       on every host
--
-- /leader says 200 from when on_elected has returned until the work has to stop, by the clock: a host that is still
-- being promoted takes no load, and one that is cut off or hangs says 503 before another can lead.
election     = "/examples/primary"
ttl          = 5
grace        = 2                 -- HAProxy looks twice a second: the load is gone before another host leads
stop_timeout = 2                 -- no longer than that: on_lost has returned by then

function on_elected(term)
  log.info("promoted, token %d", term.token)     -- here: pg_ctl promote, start the service, ...
end

function do_work()
  return 1
end

function on_lost(_, reason)
  log.info("demoted (%s)", reason)               -- here: stop it, or make it read-only
end
