-- The kinds of faults, as --faults takes them.
require "lunarch.internal.args".is_ours()

return {
  all = {
    "messages", "network", "freeze", "partition", "restart", "pause", "kill", "stop", "delay", "far", "compact",
    "revoke",
  },
  -- No script can withstand an operator who takes keys away.
  usual = "messages,network,freeze,partition,restart,pause,kill,stop,delay,far,compact",
}
