-- Keeps one core busy until it is ended: ./dev test --busy starts one per core, to see that no spec minds.
while true do end
