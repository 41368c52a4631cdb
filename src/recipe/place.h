/* recipe/place.h - a place in a line: the one machine behind mutexes and elections, and the only one that is
 * hard.
 *
 * A line is an etcd prefix `<name>/`; a place in it is a key bound to our lease; the order is by create
 * revision; who is first, holds. The machine enters, waits until nobody is before it, proves that (S2),
 * holds, leaves - and cleans up after itself whatever happens (L2): a place given up is the session's until
 * nothing of it can be left in etcd.
 *
 * All of it is called inside (rpc.h). A place lives in memory of its own: its owner ends its interest with
 * place_give_up, after which no callback comes, and it ends by itself. */
#ifndef LUN_RECIPE_PLACE_H
#define LUN_RECIPE_PLACE_H

#include "base/bytes.h"
#include "base/reason.h"
#include "base/sm.h"
#include "etcd/kv.h"
#include "etcd/watch.h"
#include "recipe/line.h"

struct session;
struct place;

/* Nothing is called during the call that started or gave up the place. The owner may give the place up from
 * any of them. */
struct place_callbacks {
    /* Once: `err` NULL: we hold it, and the session is valid now. Otherwise the place is over (whatever is
     * left of it is cleaned up in the background): LUN_ELOCKED (try; the text names the owner), LUN_ELOST
     * (key or session vanished), LUN_ECLOSED, or what etcd said. Give it up. */
    void (*on_entered)(struct place *place, const struct lun_err *err);
    /* While held: work has to stop now, because stop_at has come or the place is lost. May come twice: first
     * without `is_lost`. */
    void (*on_stop)(struct place *place, enum lun_reason reason, bool is_lost);
    /* After place_leave: etcd has answered. NULL: deleted. LUN_ENOTOWNER: it was gone already. LUN_ELOST: so
     * was the session. Give it up. */
    void (*on_left)(struct place *place, const struct lun_err *err);
};

enum place_mode { PLACE_WAIT, PLACE_TRY };

/* `rule`: when a place in the line holds (line.h). `name` without the '/' that is added; checked by place_check_name. `value` says who we are. 0 or
 * LUN_ENOMEM, LUN_ELOST, LUN_ECLOSED. */
int place_enter(struct session *session, struct lun_bytes name, struct lun_bytes value, enum place_mode mode,
                struct line_rule rule, const struct place_callbacks *callbacks, void *owner,
                struct place **ret_place, struct lun_err *ret_err);
/* Gives up a held place; on_left follows. */
void place_leave(struct place *place);
/* In any state: the owner wants it no more and is not called any more. What is in etcd is removed in the
 * background. Takes NULL. */
void place_give_up(struct place *place);

void *place_owner(const struct place *place);
struct lun_bytes place_key(const struct place *place);
int64_t place_create_rev(const struct place *place); /* the fencing token; 0 until it is known */
bool place_is_held(const struct place *place);
/* The wait ends at `deadline_ns`: shortly before, who holds the line is read anew, so that the caller can be told. */
void place_set_deadline(struct place *place, int64_t deadline_ns);
/* The holder of the line as far as was seen while waiting: "locked by web-2 (pid 4711)", or "". */
const char *place_owner_text(const struct place *place);
/* What this client waits for in the line, if it is no place of that line: "blocked by the key ...", else "". */
const char *place_obstacle_text(const struct place *place);

/* 0, or LUN_EINVALID and what is wrong: empty, ends in '/', longer than PLACE_MAX_NAME_BYTES. */
enum { PLACE_MAX_NAME_BYTES = 4096 };
int place_check_name(struct lun_bytes name, struct lun_err *ret_err);

/* The value that tells others who holds a lock: {"name":...,"host":...,"pid":...}. `name` NULL: that of the
 * host. 0 or LUN_ENOMEM. */
int place_identity(struct bytes *ret_value, const char *name);
/* Names the holder of a key in the line of `prefix`: "locked by web-2 (pid 4711)" from such a value, otherwise by its
 * key; "blocked by ..." where the key is no place of that line. 0 or LUN_ENOMEM. */
int place_describe(struct bytes *ret_text, struct lun_bytes prefix, const struct lun_kv *kv);
/* The latter alone: plain data, bound to no lease or to one, or the place of a line whose name lies below `prefix`; its
 * value is not needed. An ordinary place: `ret_text->data` is NULL. 0 or LUN_ENOMEM. */
int place_describe_obstacle(struct bytes *ret_text, struct lun_bytes prefix, const struct lun_kv *kv);

/* ---- for the session
 * -------------------------------------------------------------------------------------------------- */

struct list;
struct place *place_of(struct list *in_session);
/* stop_at has come: held places tell their owners. */
void place_on_stop(struct place *place);
/* The session is over: the place counts no more among those of this client in the line. To be called
 * for all its places before any owner is told. */
void place_leave_line(struct place *place);
/* The session is over (lost or closed): the owners of waiting and held places are told; nothing is sent any more, the keys go
 * with the lease. */
void place_on_session_over(struct place *place, enum lun_reason reason);
/* The same without a word to anyone: the memory goes as soon as nothing is in flight. */
void place_kill(struct place *place);

#endif
