/* ask.h - an asked call, from asking until its answer is taken: the frame of every asking function of lunarch.h.
 * Everything here is called inside (rpc.h) unless said otherwise. */
#ifndef LUN_CLIENT_ASK_H
#define LUN_CLIENT_ASK_H

#include "base/list.h"
#include "etcd/kv.h"
#include "lunarch.h"
#include "rpc/rpc.h"

/* What an asking function is, beside its arguments. */
struct ask_kind {
    /* Begins it; it may finish the op at once. 0, or an error (its text in `ret_err`) and nothing is begun: the op is
     * taken back then. */
    int (*start)(struct lun_op *op, const void *args, struct lun_err *ret_err);
    /* The asker waits no more: LUN_ETIMEOUT, LUN_ECANCELLED or LUN_ECLOSED. Detaches the op from its object and
     * finishes it, now or soon. */
    void (*on_give_up)(struct lun_op *op, int code);
    bool has_own_deadline; /* the call that it makes ends in time: no timer */
    bool is_for_closed;    /* a closed client answers it, too */
};

struct lun_op {
    struct rpc_completion note;
    struct lun_client *client;
    struct list in_client;
    struct list in_object; /* of whatever it waits for */
    struct rpc_timer timer;
    struct lun_ask ask;
    const struct ask_kind *kind;
    void *object;
    const char *what;       /* for errors: "get /config"; see op_name */
    struct etcd_call *call; /* in flight for it alone */
    int give_up_code;
    bool is_kept, is_telling, is_unwanted;
    /* What the answer states of ownership, for success alone; NULL: nothing. Whether it is true now: 0, or
     * LUN_ELOST and why not. */
    int (*recheck)(const struct lun_op *op, struct lun_err *ret_err);
    /* Gives back what the answer brought: nobody takes it, or it is a loss by now. NULL: nothing. */
    void (*drop)(struct lun_op *op);
    struct list *untaken; /* of the object: answers with `recheck` that nobody has taken, by in_object */
    struct lun_result result;
    struct lun_err *err;
    struct list blocks; /* memory that the result points into */
};

/* The frame of an asking function: enters, checks, makes the op, starts it, leaves. What lunarch.h says that asking
 * calls return. Outside. */
int client_ask(struct lun_client *client, const struct ask_kind *kind, void *object, const void *args,
               const struct lun_ask *ask, struct lun_op **ret_op, struct lun_err *ret_err);

/* The deadline of a call that `op` makes. */
int64_t op_deadline_ns(const struct lun_op *op);
/* Names the op for its errors. 0 or LUN_ENOMEM. */
int op_name(struct lun_op *op, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* on_give_up of an op that waits for nothing but its call, whose answer then finishes it with `code`. */
void op_give_up_call(struct lun_op *op, int code);

/* Answers: NULL, or a copy of `err`. The result is filled in before. */
void op_finish(struct lun_op *op, const struct lun_err *err);
/* The same, with "verb name: " before the error. */
void op_finish_named(struct lun_op *op, const struct lun_err *err, const char *verb, const char *name);
int op_fail(struct lun_op *op, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Of the reply to its call. True: it was an error (or the op was given up meanwhile), and the op is finished with it,
 * under the name that op_name gave. */
bool op_has_failed(struct lun_op *op, const struct etcd_reply *reply);
/* "etcd did not answer: ..." with what each member did; for an op that waited for an answer and got none. */
void op_fail_silent(struct lun_op *op, const char *what, int code);
const char *op_span(const struct lun_op *op, char *text, size_t n_bytes); /* "5 s" */

/* Memory that lives as long as the result. NULL when there is none. */
void *op_alloc(struct lun_op *op, size_t n_bytes);
/* A copy that lives as long as the result; false when there is no memory. */
bool op_copy(struct lun_op *op, struct lun_bytes from, struct lun_bytes *ret);
bool op_copy_kv(struct lun_op *op, const struct lun_kv *from, struct lun_kv *ret);
bool op_copy_results(struct lun_op *op, const struct etcd_reply *reply);
bool op_set_leader(struct lun_op *op, const struct lun_kv *kv);

/* Gives up every op in an object's list. */
void ops_give_up(struct list *ops, int code);

#endif
