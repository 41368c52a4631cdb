-- What is known of a request of nginx's, from when something of ours begins in it until it ends. A timer is a request
-- in this sense too, and so is a phase of TLS.
--
-- A request is known by its address, which neither Lua code nor an internal redirect can change (ngx.ctx can be
-- replaced by both). Addresses are used again: so nginx tells when a request has ended (core.endings), and this is
-- looked at before an address is looked up.
local args = require "lunarch.internal.args"

args.is_ours()

local core = require "lunarch.core"
local each = require "lunarch.internal.each"
local ffi = require "ffi"
local get_request = require("resty.core.base").get_request

local requests = {}

local endings                   -- of lunarch.core, from the first request that is kept
local by_address, by_number = {}, {}
local n_kept = 0

local function address_of(request)
  return tonumber(ffi.cast("uintptr_t", ffi.cast("void *", request)))
end

local function end_one(number)
  local record = by_number[number]
  by_number[number] = nil
  if by_address[record.address] == record then by_address[record.address] = nil end
  record.has_ended = true
  for _, on_end in ipairs(record.on_end) do
    on_end(record)
  end
end

--- Sees to the requests that have ended since: calls their `on_end` functions, which must not wait.
function requests.sweep()
  local number = endings and endings:take()
  while number do
    end_one(number)
    number = endings:take()
  end
end

--- The record of the request this code runs in, or nil: there is none, or nothing of ours has begun in it.
function requests.here()
  if not endings then return nil end
  requests.sweep()
  local request = get_request()
  return request and by_address[address_of(request)]
end

local function open()
  local found, message = core.endings(ngx.config.subsystem)
  if not found then args.misuse("lunarch cannot work in this nginx: %s", message) end
  endings = found
  if requests.on_open then requests.on_open(endings:fd()) end
end

--- The same, made where it is missing: { waits = set, on_end = list of functions, has_ended = true later, group = the
--- same number for a request and its subrequests }. Raises where there is no request at all.
function requests.keep()
  local record = requests.here()
  if record then return record end
  if not endings then open() end
  local request = get_request()
  n_kept = n_kept + 1
  record = { number = n_kept, address = address_of(request), waits = {}, on_end = {} }
  local message
  record.group, message = endings:watch(request, record.number)
  if not record.group then error(message, 0) end
  by_address[record.address], by_number[record.number] = record, record
  return record
end

--- What a request shares with its subrequests: the record of the one in which something of ours began first; it ends
--- when they all end. Nil where there is no request, or one with nothing of ours in its log phase.
function requests.shared()
  local record = requests.here()
  if not record and get_request() and ngx.get_phase() ~= "log" then record = requests.keep() end
  return record and by_number[record.group]
end

local function pay(record)
  for fn in each(record.debts) do
    fn()
  end
end

--- `fn`, which must not wait, is called when the request that this code runs in has ended; not if the function that is
--- returned was called before.
function requests.at_end(fn)
  local record = requests.keep()
  if not record.debts then
    record.debts = {}
    table.insert(record.on_end, pay)
  end
  record.debts[fn] = true
  return function() record.debts[fn] = nil end
end

--- Readable whenever a request has ended, or nil before the first is kept: then requests.on_open is called with it.
function requests.fd()
  return endings and endings:fd()
end

return requests
