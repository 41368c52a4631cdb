/* spec/unit/client/tale.h - a story told through the door on the simulated etcd, in straight lines: ask, let time pass until
 * the answer is there, go on. Everything is checked as it goes: each call is answered once, whoever believes to own
 * stands first in line.
 *
 * Want of memory (starve.h) is met as a patient user would: by asking again a little later. So a story is told to its
 * end however often memory was refused, or something is stuck. */
#ifndef LUN_UNIT_TALE_H
#define LUN_UNIT_TALE_H

#include <stdbool.h>
#include <stdint.h>

#include "lunarch.h"
#include "sim/sim.h"

enum {
    TALE_PARTIES = 2,
    TALE_FURTHER = 16,
    TALE_ANSWERS = 1024,
    TALE_BELIEVERS = 64,
    TALE_TTL_S = 10,
    TALE_PATIENCE_MS = 60000
};

/* An answer, copied out of the callback. */
struct answer {
    int rc;      /* of asking */
    int n_times; /* told: once, and no more, when rc is 0 */
    int code;
    char text[LUN_ERR_TEXT_BYTES];
    struct lun_op *op;
    struct lun_session *session;
    struct lun_term *term;
    int64_t token, revision, lease, ttl_s;
    bool is_success, has_leader;
    char value[64];
    size_t n_results, n_events, n_members;
    int64_t count;
    enum lun_reason reason;
    enum lun_session_state state;
};

struct party {
    struct sim_client *sim;
    struct lun_client *client; /* NULL: not open */
};

struct believer {
    struct lun_mutex *mutex; /* or */
    struct lun_term *term;
    char prefix[32];
};

struct tale {
    struct sim *sim;
    struct party parties[TALE_PARTIES];
    struct sim_client *further[TALE_FURTHER];
    size_t n_further;
    struct answer answers[TALE_ANSWERS];
    size_t n_answers;
    struct believer believers[TALE_BELIEVERS];
    struct sim_event famine_end;
    size_t n_puts;   /* carried out */
    bool is_changed; /* the store, since beliefs were looked at */
    bool is_robbed;  /* an operator deleted something: its owner may not know yet */
    bool is_cut_off; /* a client was freed with calls still out: these need no answer */
};

/* The one that is being told, and who hears of what goes wrong (check_fail). */
extern struct tale *tale;
extern void (*tale_on_failure)(const char *file, int line, const char *what);
#define TALE_CHECK(condition)                                                                                \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            tale_on_failure(__FILE__, __LINE__, #condition);                                                 \
    } while (0)

void tale_begin(uint64_t seed);
/* Every party must have been freed. Checks that nothing is left: in the queue, of leases, calls, timers, memory. */
void tale_end(void);

/* ---- time */
void tale_pass(int64_t ms);
/* Until the answer is there. */
void tale_await(struct answer *answer);

/* ---- asking */
/* The next answer, and what to ask with. */
struct answer *tale_answer(void);
struct lun_ask tale_ask(struct answer *answer, int64_t timeout_ms);
/* True: it was for want of memory, and a little time has passed. Counts, so that it ends. */
bool tale_shall_ask_again(int code);

/* Submits `call`, in which `a` is the answer and `ask` asks for it, until there was memory for it. The answer comes
 * later. */
#define BEGIN(ret, timeout_ms, call)                                                                         \
    do {                                                                                                     \
        struct answer *a = (ret) = tale_answer();                                                            \
        struct lun_ask ask = tale_ask(a, timeout_ms);                                                        \
        a->rc = (call);                                                                                      \
    } while (tale_shall_ask_again((ret)->rc))
/* The same, and awaits the answer; until that is another than want of memory. */
#define GET(ret, timeout_ms, call)                                                                           \
    do {                                                                                                     \
        BEGIN(ret, timeout_ms, call);                                                                        \
        tale_await(ret);                                                                                     \
    } while (tale_shall_ask_again((ret)->code))
/* Awaits the answer to what BEGIN asked; asks again if it is want of memory. */
#define SETTLE(ret, timeout_ms, call)                                                                        \
    do {                                                                                                     \
        tale_await(ret);                                                                                     \
        if (tale_shall_ask_again((ret)->code))                                                               \
            GET(ret, timeout_ms, call);                                                                      \
    } while (0)
/* A call that answers at once. */
#define MAKE(call)                                                                                           \
    do {                                                                                                     \
        int tale_rc;                                                                                         \
        do                                                                                                   \
            tale_rc = (call);                                                                                \
        while (tale_shall_ask_again(tale_rc));                                                               \
        TALE_CHECK(tale_rc == 0);                                                                            \
    } while (0)
#define FINE(ret) tale_is_fine(__FILE__, __LINE__, ret)
void tale_is_fine(const char *file, int line, const struct answer *answer);

/* ---- the usual beginnings and ends */
/* For whoever opens clients by itself. */
struct sim_client *tale_another(void);
struct lun_client *tale_open(int party);
void tale_close(int party);
/* Without closing first. */
void tale_free(int party);
struct lun_session *tale_session(int party);
void tale_close_session(struct lun_session *session);
struct lun_mutex *tale_mutex(struct lun_session *session, const char *name);
void tale_mutex_free(struct lun_mutex *mutex);
struct answer *tale_lock(struct lun_mutex *mutex);
/* Done, or going on in the background for want of memory. */
void tale_unlock(struct lun_mutex *mutex);
/* From now on looked at; NULL in `of` is nobody any more. */
void tale_believe(struct lun_mutex *mutex, struct lun_term *term, const char *name);
void tale_disbelieve(const void *of);

#endif
