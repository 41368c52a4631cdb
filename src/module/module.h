/* module/module.h - what the files of the binding share.
 *
 * lunarch.core is private to lua/lunarch: its arguments have been checked there, and are checked here once
 * more only as far as memory is concerned. An asking call returns the number of an operation, or nil,
 * message, code. C never calls Lua: the callbacks of lunarch.h keep the answer, `client:drain()` and
 * `client:wait()` tell which are finished, `client:take(id)` gives the answer as it is by then.
 *
 * Lifetimes: a *client ref* counts the references to a client, and lives as long as the Lua object of the client or of
 * anything made from it; the client is abandoned with its last reference, so that the order in which the collector takes
 * them does not matter. A *handle* is what a Lua object of the other classes points to. A *pending* is an operation, from
 * asking until its answer is taken. */
#ifndef LUN_MODULE_MODULE_H
#define LUN_MODULE_MODULE_H

#include "base/list.h"
#include "lunarch.h"
#include "module/compat.h"

/* ---- client refs and handles ------------------------------------------------------------------------- */

struct pending;

struct client_ref {
    struct lun_client *client;
    unsigned refs;
    struct pending **slots;
    size_t n_slots;
    struct list unused;   /* struct pending */
    struct list finished; /* struct pending: answered, and not yet returned by drain */
    struct list lines;    /* struct line: of the trace, and warnings */
    size_t n_lines;
};

/* A method that asks. */
struct asking {
    const char *name; /* NULL: the end of a list */
    int answer;       /* enum answer */
    int timeout_index;
    /* Reads the arguments, which may raise, and asks. `object` is what lunarch.h calls it. */
    int (*ask)(lua_State *L, void *object, const struct lun_ask *ask, struct lun_op **ret_op,
               struct lun_err *err);
    /* For the simulator: NULL: it does not see it; "": a request; else a request that a timeline shows by this name. */
    const char *told;
};

struct class {
    const char *name; /* of its metatable */
    void (*free)(void *object);
    const luaL_Reg *methods;
    const struct asking *asks;
    /* Whether what it stands for is ours now, by the clock; NULL: it stands for nothing of ours. For the simulator, which
     * asks when an answer with a token, or the object itself, is taken. */
    bool (*is_held)(void *object);
};

/* What the names of our classes begin with: another in the simulator, so that one Lua state may hold both. */
#ifndef LUN_CORE
#define LUN_CORE "lunarch.core"
#endif
#define CLIENT_CLASS LUN_CORE ".client"
extern const struct asking client_asks[];
/* Adds the methods that ask to the table at the top; `class` NULL: those of a client. */
void asking_register(lua_State *L, const struct asking *asks, const struct class *class);
/* Every class but that of clients, up to a NULL. */
extern const struct class *const module_classes[];

/* Lives until its Lua object and all operations asked of it are gone; the object in it, no longer than the
 * Lua object. */
struct handle {
    const struct class *class;
    struct client_ref *ref;
    void *object; /* NULL: freed */
    unsigned refs;
};

void client_ref_hold(struct client_ref *ref);
/* With the last reference the client is abandoned: its callbacks no longer come, and what they would have
 * brought is freed. */
void client_ref_release(struct client_ref *ref);
/* Raises unless argument `index` is a client. */
struct client_ref *client_ref_check(lua_State *L, int index);
void client_ref_register(lua_State *L);
int client_ref_connect(lua_State *L);
int client_ref_endpoints(lua_State *L);

void handle_register(lua_State *L, const struct class *class);
/* Pushes a Lua object of `class`, still without its object: what may raise comes before there is something to
 * lose. */
struct handle *handle_new(lua_State *L, const struct class *class);
/* Gives it the object, which it owns from now on. */
void handle_open(struct handle *handle, struct client_ref *ref, void *object);
/* Raises unless argument `index` is of `class`, and not closed. */
struct handle *handle_check(lua_State *L, int index, const struct class *class);
/* The same, but its `object` may be NULL. */
struct handle *handle_peek(lua_State *L, int index, const struct class *class);
void handle_close(struct handle *handle);
void handle_unref(struct handle *handle);

/* All of them; one that is added stands here, and in a file of its own. */
#define MODULE_CLASSES(X)                                                                                    \
    X(session_class) X(mutex_class) X(election_class) X(term_class) X(observer_class) X(watch_class)
#define MODULE_DECLARE(class_name) extern const struct class class_name;
MODULE_CLASSES(MODULE_DECLARE)
#undef MODULE_DECLARE

/* ---- operations
 * ------------------------------------------------------------------------------------------------------- */

/* What is pushed for an answer. */
enum answer {
    ANSWER_TRUE,
    ANSWER_TOKEN,    /* true, token */
    ANSWER_REVISION, /* true, revision */
    ANSWER_KV,
    ANSWER_TXN,
    ANSWER_LEASE,
    ANSWER_TTL,
    ANSWER_STATUS,
    ANSWER_EVENTS,
    ANSWER_SESSION,
    ANSWER_TERM,
    ANSWER_STATE,
    ANSWER_LEADER, /* a table, or false */
    ANSWER_REASON,
    ANSWER_POSITION,
};

struct pending {
    struct list link;       /* in ref->finished, ref->unused */
    struct client_ref *ref; /* not counted: it owns its operations */
    struct handle *handle;
    lua_Integer id;
    enum answer answer;
    bool is_used, is_done, is_forgotten;
    struct lun_op *lun; /* kept when done */
};

/* A new operation, and how it is asked: its timeout in milliseconds is argument `timeout_index`. `handle` may be NULL.
 * Raises when out of memory. */
struct pending *pending_new(lua_State *L, struct client_ref *ref, struct handle *handle, enum answer answer,
                            int timeout_index, struct lun_ask *ret_ask);
void pending_register(lua_State *L);
/* Ends an asking call: pushes its number and its token, or nil, message, code. An operation that was neither
 * taken nor given up when its token is collected is given up then: an error was raised (Ctrl-C) where nobody
 * expected one. */
int pending_asked(lua_State *L, struct pending *pending, int code, const struct lun_err *err);
/* Raises unless argument `index` is the token of `pending`, without which the collector may recycle it at any
 * allocation. */
void pending_check_token(lua_State *L, int index, const struct pending *pending);
/* NULL: no operation of that number. */
struct pending *pending_find(struct client_ref *ref, lua_Integer id);
void pending_recycle(struct pending *pending);
/* It is wanted no longer; its answer will be thrown away, and undone. */
void pending_forget(struct pending *pending);
void pending_cancel(struct pending *pending);

/* Pushes the answer of a finished operation; the number of values. May raise; then nothing is lost. */
int answer_push(lua_State *L, struct pending *pending);
/* Pushes the table that client:stats() returns. */
void stats_push(lua_State *L, const struct lun_stats *stats, const struct lun_wait *waits, size_t n_waits);
/* Pushes { kv =, event =, member =, leader = }: the metatables of what is in answers. */
void answer_push_classes(lua_State *L);

/* ---- values
 * ----------------------------------------------------------------------------------------------------------- */

/* { state = { alive = 0, ... }, ... }: see numbers.c. */
void numbers_push(lua_State *L);
int push_error(lua_State *L, int code, const char *text);
/* A string of any length. Unlike lua_pushstring it is not looked up by its address, which differs from run to run: a
 * script in the simulator must not see the difference, not even in what is collected when. */
void push_text(lua_State *L, const char *text);
/* A revision or token. Raises above 2^53 where Lua's numbers cannot hold it. */
void push_int64(lua_State *L, int64_t value);
/* 16 hexadecimal digits. */
void push_lease(lua_State *L, int64_t lease);
void push_bytes(lua_State *L, struct lun_bytes bytes);
/* Seconds, from nanoseconds. */
void push_seconds(lua_State *L, int64_t ns);

/* Slices are borrowed from the Lua string, which the stack or a table on it keeps. */
struct lun_bytes read_bytes(lua_State *L, int index);
/* 0 for nil. */
int64_t read_lease(lua_State *L, int index);
/* From the tables that lua/lunarch/internal/operations.lua makes. */
void read_op(lua_State *L, int index, struct lun_kv_op *ret);
/* Leaves its arrays on the stack: they go with them. */
void read_txn(lua_State *L, int index, struct lun_txn *ret);

#endif
