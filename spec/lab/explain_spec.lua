-- lunarch explain, and history(name): who held a line when, and how each term began and ended.
local etcd = require "support.etcd"
local history = require "lunarch.look.history"
local json = require "cjson"
local logs = require "lunarch.timeline.logs"
local lunarch = require "lunarch"
local process = require "support.process"
local script = require "host.script"

describe("lunarch explain", function()
  local server, client
  local keep = {} -- what is collected gives up what it holds

  setup(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint, name = "spec" })
  end)

  teardown(function()
    process.end_all()
    client:close(5)
    server:stop()
  end)

  local function explain(...)
    local words = { "lunarch", "explain", ... }
    words[#words + 1], words[#words + 2] = "--endpoints", server.endpoint
    return process.run(words)
  end

  local function lead(name, who)
    local session = assert(client:session { ttl = 30 })
    return assert(assert(session:election(name)):campaign(who, 5)), session
  end

  -- A resigns and its session goes on, B's lease is revoked while it leads, A leads again.
  local function three_terms(name)
    local first, session = lead(name, "A")
    assert(first:resign(5))
    local second, other = lead(name, "B")
    assert(client:revoke(other.lease, 5))
    local third = assert(assert(session:election(name)):campaign("A", 5))
    keep[#keep + 1] = third
    return { first.token, second.token, third.token }
  end

  local function line(at, who, text)
    local format = '{"time":"2026-11-30T08:00:%06.3fZ","level":"info","candidate":"%s","message":"%s"}\n'
    return format:format(at, who, text)
  end

  it("tells each term of the history, how it began and how it ended", function()
    local tokens = three_terms "/explain/three"
    local found = assert(history.read(client, "/explain/three", 5))
    assert.equal(3, #found.terms)
    local who, how = {}, {}
    for i, term in ipairs(found.terms) do
      assert.equal(tokens[i], term.token)
      who[i], how[i] = term.who, term.how_ended
    end
    assert.same({ "A", "B", "A" }, who)
    assert.same({
      "given up, its session goes on", "given up, or its lease ended (expired or revoked)", "leads",
    }, how)
    assert.is_nil(found.terms[3].ended)
    assert.equal("the line was empty", found.terms[1].how_began)
  end)

  it("begins with what is left where older revisions are compacted", function()
    three_terms "/explain/compacted"
    local _, info = client:get("/explain/compacted/", { prefix = true })
    server:etcdctl("compact", tostring(info.revision))
    local term, message = history.read(client, "/explain/compacted", 5)
    assert(term, message)
    assert.is_true(term.is_compacted)
    assert.equal(1, #term.terms)
    assert.equal("before the history begins", term.terms[1].how_began)
    local output, status = explain "/explain/compacted"
    assert.equal(0, status, output)
    assert.matches("what was before is compacted", output)
  end)

  it("gives terms their times and their ends from logs", function()
    local tokens = three_terms "/explain/logs"
    local a = script.write(line(1, "A", ("elected, token %d"):format(tokens[1])) .. line(2.5, "A", "lost: resigned")
      .. line(9, "A", ("elected, token %d"):format(tokens[3])) .. "no JSON at all\n", "a.log")
    local b = script.write(line(2.6, "B", ("elected, token %d"):format(tokens[2])) .. line(8.9, "B", "lost: expired"),
      "b.log")
    local output, status = explain("/explain/logs", "--log", a, "--log", b, "--json")
    assert.equal(0, status, output)
    local found = json.decode(output)
    assert.same({ "on_lost (resigned)", "on_lost (expired)", "leads" },
      { found.terms[1].how_ended, found.terms[2].how_ended, found.terms[3].how_ended })
    assert.is_true(found.terms[1].lost_at < found.terms[2].at and found.terms[2].lost_at < found.terms[3].at)
    output, status = explain("/explain/logs", "--log", a, "--log", b)
    assert.equal(0, status, output)
    assert.matches("1 line of the logs is not JSON: explain reads what `lunarch run %-%-log json` writes", output)
    assert.matches("\n  A +=", output)
    assert.matches("\n  B +=", output)
  end)

  it("knows what lunarch logs of a term itself, and shows who waits", function()
    local tokens = three_terms "/explain/own"
    local function own(at, who, level, text)
      return (line(at, who, text):gsub('"level":"%a+"', ('"level":"%s"'):format(level)))
    end
    local a = script.write(own(1, "A", "info", "stands in /explain/own as A: TTL 3 s; lost after 2.7 s")
      .. own(2, "A", "debug", ("elected in /explain/own, token %d; 2.1 s until"):format(tokens[1]))
      .. own(2, "A", "debug", "do_work is called")
      .. own(3, "A", "debug", "the work of the term has to end: handed_over"), "a.log")
    local b = script.write(own(1.5, "B", "info", "stands in /explain/own as B: TTL 3 s")
      .. own(3.1, "B", "debug", ("elected in /explain/own, token %d; 2.1 s until"):format(tokens[2])), "b.log")
    local output = explain("/explain/own", "--log", a, "--log", b)
    assert.matches("\nA +%d+ +[%d:.]+ +%d+ +%d+ +[^\n]+ on_lost %(handed_over%)", output)
    assert.matches("\n  A +%-+=+", output)
    assert.matches("\n  B +%-+=+", output)
    assert.is_nil(output:find("do_work is called", 1, true))
  end)

  it("says that logs tell no times, whatever else is in them, and draws the revisions", function()
    three_terms "/explain/silent"
    local odd = line(1, "A", "stands in /explain/silent as A"):gsub("T", "T99", 1) .. '{"time":12,"message":5}\n[1]\n'
      .. '{"time":"\255\n' .. ("x"):rep(100000)
    local log = script.write(line(1, "A", "stands in /explain/silent as A: TTL 3 s") .. odd, "odd.log")
    local output, status = explain("/explain/silent", "--log", log)
    assert.equal(0, status, output)
    assert.matches("no line of the logs names the token of a term: lunarch writes one with", output)
    assert.matches("5 lines of the logs are not JSON", output)
    assert.matches("\n  A +=", output)
    output, status = explain("/explain/silent", "--log", "/")
    assert.equal(2, status)
    assert.equal("lunarch: /: Is a directory\n", output)
  end)

  it("says that nobody held a line, and exits with 3 where nobody does", function()
    local output, status = explain "/explain/nothing"
    assert.equal(3, status)
    assert.matches("no term in etcd's history", output)
    local _, session = lead("/explain/over", "A")
    assert(session:close(5))
    output, status = explain "/explain/over"
    assert.equal(3, status)
    assert.matches("1 term in etcd's history", output)
  end)

  it("says what is wrong with its arguments", function()
    local output, status = process.run { "lunarch", "explain" }
    assert.equal(2, status, output)
    output, status = explain("/x", "--log", "/nothing/here")
    assert.equal(2, status, output)
    assert.matches("/nothing/here", output)
  end)

  it("reads times with any zone, and messages with any escape", function()
    local event = logs.event '{"time":"2026-11-30T10:00:01.500+0200","level":"warn","message":"a \\"b\\"\\u0041\\\\"}'
    assert.equal(logs.event('{"time":"2026-11-30T08:00:01.500Z","level":"warn","message":"x"}').at, event.at)
    assert.equal('a "b"A\\', event.text)
    assert.is_nil(logs.event "{}")
  end)
end)
