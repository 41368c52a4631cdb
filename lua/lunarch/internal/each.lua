-- `pairs`, for code that may run in a finalizer (__gc).
--
-- LuaJIT (2.1 of 2023) compiles a loop over `pairs` in a way of its own, by the name. Where such a compiled loop meets
-- a table of another kind it waits to be compiled once more, which LuaJIT does not do in a finalizer: there it goes in
-- circles for ever. Under another name it is compiled like any other iterator.
return pairs
