/* recipe/line.h - a line: the keys under `<name>/`, each bound to a lease, in the order of their creation; and the rules
 * that say when a place in it holds.
 *
 * A rule answers two questions: what is read (line_question), and what the answer means (line_judge). The machine that
 * enters, waits and leaves is recipe/place.c; it knows no rule. Everything rests on one fact: a key that is created later
 * stands later, so the places before ours only become fewer.
 *
 *   exclusive(n)   holds when fewer than n are before it. 1: mutexes and elections; n: a semaphore
 *   shared         holds when no exclusive place is before it. Its key is `<name>/~<lease>`: '~' sorts behind every lease,
 *                  so the exclusive places are a range of their own, while others' clients see one more place in the line
 *   gathering(n)   a barrier: holds when n are there, wherever it stands itself
 *
 * place.c enters for exclusive(n) alone so far: a shared place needs its key named so, a gathering one to wait for keys that
 * come.
 *
 * Called with the lock held (rpc.h). */
#ifndef LUN_RECIPE_LINE_H
#define LUN_RECIPE_LINE_H

#include "base/kv.h"
#include "base/list.h"
#include "etcd/kv.h"

/* ---- rules ------------------------------------------------------------------------------------------ */

enum line_kind { LINE_EXCLUSIVE, LINE_SHARED, LINE_GATHERING };
#define LINE_SHARED_MARK '~'

struct line_rule {
    enum line_kind kind;
    unsigned n; /* exclusive: so many hold together; gathering: so many are awaited. At most LINE_MAX_SLOTS */
};
enum { LINE_MAX_SLOTS = 1000 };

/* Mutexes and elections. */
extern const struct line_rule line_one_holds;
/* One place holds at a time, the first: then each waits for the one before it, and for that one alone. Under another rule
 * any place that goes may be the one that makes us hold. */
bool line_is_single(struct line_rule rule);

/* ---- a line ----------------------------------------------------------------------------------------- */

/* What the places of one client in one line share. Made and freed by place_index.h. */
struct line {
    struct list places; /* those that are in etcd, in the order of the line */
    size_t n_users;     /* places that refer to it */
    size_t n_entering;  /* their entering transactions in flight */
    char *owner_text;   /* who held it when that was read last; NULL: not known */
    int64_t owner_read_ns;
    size_t prefix_len;
    char text[]; /* "<name>/", a mark of shared places, a terminator; "<name>0" */
};

size_t line_text_bytes(size_t name_len);
/* `line` has room for line_text_bytes. */
void line_init(struct line *line, struct lun_bytes name);
struct lun_bytes line_prefix(const struct line *line);
struct lun_bytes line_prefix_end(const struct line *line);

/* The read that shows who is first: one key and its value, or none. Etcd reads the whole line for it. */
struct lun_kv_op line_first(struct lun_bytes prefix, struct lun_bytes prefix_end);

/* ---- questions -------------------------------------------------------------------------------------- */

enum line_ask {
    LINE_OWN,     /* is our key still there? */
    LINE_PROVEN,  /* the same, when everybody before us is known to be gone for good: then it is a win */
    LINE_BLOCKER, /* and the one that we wait for? */
    LINE_BEFORE,  /* who is right before us? Etcd reads the whole line */
    LINE_FRONT,   /* who are the first LINE_FRONT_KEYS? Etcd reads the whole line, for many of us together */
};
enum { LINE_FRONT_KEYS = 64 };

struct line_key {
    struct lun_bytes key;
    int64_t create_rev;
};

struct line_question {
    enum line_ask ask;
    struct line_rule rule;
    struct line_key own, blocker;
    bool has_owner; /* the last read is line_first */
    struct lun_kv_op reads[3];
    size_t n_reads;
};

/* Borrows everything. `blocker` may be NULL but for LINE_BLOCKER. Sent as one transaction without writes. */
void line_question(struct line_question *ret_question, const struct line *line, struct line_rule rule,
                   enum line_ask ask, struct line_key own, const struct line_key *blocker, bool wants_owner);

enum line_verdict {
    LINE_HOLDS, /* proven by this very answer */
    LINE_BLOCKED, /* by `blockers`; none: by nobody in particular (LINE_OWN; a barrier waits for more to come) */
    LINE_UNKNOWN, /* the one that we waited for is gone, or we are not among the first: ask LINE_BEFORE */
    LINE_GONE,    /* our own key is not there any more, or it is another one of that name */
};

/* `ret_blockers`: borrowed from the answer, `*ret_n` of them, the nearest first: as long as all of them are there, we do
 * not hold. */
enum line_verdict line_judge(const struct line_question *question, const struct lun_kv_result *results,
                             const struct lun_kv **ret_blockers, size_t *ret_n);

/* The owner that an answer to `question` names; NULL: it was not asked for, or there is none. */
const struct lun_kv *line_owner(const struct line_question *question, const struct lun_kv_result *results);

#endif
