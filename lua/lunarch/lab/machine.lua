-- The script that a machine of the lab runs, in a process of its own or in the simulator: a candidate that reports what
-- happens to it, and obeys orders.
require "lunarch.internal.args".is_ours()

local is_simulated = package.preload["lunarch.lab.inside"] ~= nil

require "lunarch.lab.agent"(require(is_simulated and "lunarch.lab.link_sim" or "lunarch.lab.link_pipe"))
