/* etcd/cluster.h - what a cluster and a member are made of. For the files of this folder only. */
#ifndef LUN_ETCD_CLUSTER_H
#define LUN_ETCD_CLUSTER_H

#include "etcd.pb-c.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/pool.h"
#include "etcd/auth.h"
#include "etcd/discovery.h"
#include "etcd/etcd.h"
#include "etcd/identity.h"
#include "etcd/member_list.h"
#include "etcd/namespace.h"
#include "etcd/renewals.h"
#include "etcd/tally.h"
#include "etcd/watch_stream.h"
#include "etcd/window.h"

enum { ETCD_WHY_BYTES = 240 }; /* a sentence about a certificate, at the most */

struct etcd_member {
    struct etcd *etcd;
    struct rpc_channel *channel; /* NULL: the slot is empty */
    bool is_given;               /* as an endpoint, or by DNS: not learnt */
    bool is_used;                /* it may be asked: given, or learnt and still listed (member_list.c) */
    uint64_t member_id;          /* its own, as it has shown it last; 0: not yet */
    uint64_t raft_term;          /* its own, of the same header */
    uint64_t listed_id;          /* of one that is not given: as the list has it */
    struct rpc_call *probe;      /* member_list.c: asks it to prove itself */
    int64_t left_ns;             /* when it was found to be listed no more; 0: it was not */
    int64_t failed_ns;           /* when it failed; 0: it is trusted */
    /* Send time of the oldest attempt that was given up since it last answered; 0: none. */
    int64_t silent_since_ns;
    int64_t heard_ns; /* its latest answer to anything */
    /* What it took to answer what needs no other member (a Status, a watch's creation), the latest; 0: not known. */
    int64_t distance_ns;
    bool is_silent;                        /* it failed by silence: asking it costs a whole attempt */
    bool is_verified;                      /* it has shown our cluster's id */
    uint64_t shown_id;                     /* the cluster's id that it has shown last; 0: none */
    bool was_ours;                         /* it has shown the cluster's id that counts */
    unsigned n_other;                      /* answers in a row that showed another */
    char why[ETCD_WHY_BYTES];              /* what was last wrong, even if it is trusted again */
    int64_t why_ns;                        /* and when; 0: nothing ever was */
    bool is_guessed;                       /* why: of a silent member, what a look from outside has found */
    struct window windows[WINDOW_N_KINDS]; /* what it is asked at a time; call.c */
    struct {                               /* confirm.c */
        struct list served, queued;        /* by the read under way; by the next one */
        int64_t attempt_ns, queued_attempt_ns;
        int64_t sent_ns, asked_ns;   /* when the read was sent; that, or the Status that follows it */
        uint64_t sent_term, sent_id; /* what it had shown when the read was sent */
        struct rpc_call *read;
        unsigned generation;       /* of the token it carries */
        bool is_under_way;         /* a read or a Status is in flight, or waits for a token */
        bool was_denied;           /* the read was not permitted: a Status follows */
        bool is_again;             /* the token of the first read had ended */
        struct auth_waiter waiter; /* for the token of either */
        struct rpc_timer timer;    /* it waits for one until then */
        struct confirmation latest;
    } confirm;
};

/* survey.c */
struct survey {
    size_t n_out;    /* members that have not said yet how they are */
    bool is_to_come; /* again, as soon as a member answers: none has */
    struct rpc_timer timer;
};

struct etcd {
    struct rpc *rpc;
    const struct trace *trace, *warnings;
    size_t n_slots, n_used; /* that are not empty, or were not once; of these in use */
    struct etcd_member members[ETCD_MAX_MEMBERS];
    struct member_list member_list;
    struct discovery discovery;
    size_t current;
    struct identity identity;
    struct auth auth;
    struct namespace namespace; /* of all keys */
    struct etcd_tally tally;
    struct survey survey;
    struct list calls;                /* call.c */
    struct pool call_pool;            /* call.c: what they are made of */
    struct rpc_timer room_timer;      /* call.c: calls that wait for room at a member may find some */
    struct watch_stream watch_stream; /* watch.c */
    struct renewals renewals;         /* renewal.c */
    size_t n_out;                     /* calls, reads and streams that have not had their last callback */
    char spare_why[ETCD_WHY_BYTES];   /* call.c: of calls for whose failures there was no memory */
    bool is_closing;
    struct rpc_timer closed_timer;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* One more, or one fewer, of what must have ended before the cluster is closed. */
void etcd_out_begin(struct etcd *etcd);
void etcd_out_end(struct etcd *etcd);

/* An attempt sent at `sent_ns` was given up. The member has failed if that was all its time (`is_over`), or
 * if it has been silent for long. `guess`: why, or NULL (struct rpc_result). */
void etcd_member_silent(struct etcd_member *member, int64_t sent_ns, bool is_over, const char *guess);

/* Whom to ask after those in `tried` (bit i: member i): the choice first, then others that are trusted, then
 * who failed longest ago. NULL: all were. */
struct etcd_member *etcd_next(struct etcd *etcd, uint32_t tried);
/* Is one in use, other than `except` (or NULL), that has not failed? */
bool etcd_has_trusted(const struct etcd *etcd, const struct etcd_member *except);
size_t etcd_member_index(const struct etcd_member *member);
/* Makes a member that is not in use yet of slot `i`, an empty one or the next. 0, LUN_ENOMEM, LUN_EINVALID. */
int etcd_member_open(struct etcd *etcd, size_t i, const char *address, struct lun_err *ret_err);
/* The same in a slot of its choice. NULL: all are taken, or there is no memory. */
struct etcd_member *etcd_member_add(struct etcd *etcd, const char *address);
/* From now on it may be asked. */
void etcd_member_use(struct etcd_member *member);
/* It is not used any more, unless it is the last one. What is under way ends as it would. */
void etcd_member_leave(struct etcd_member *member, const char *why);

/* How long the member takes to answer, measured; 0: not known. */
int64_t etcd_member_answer_ns(const struct etcd_member *member);
/* How far away it is, as it has shown last; before it has, what is known of the nearest other one. 0: not known. */
int64_t etcd_member_distance_ns(const struct etcd_member *member);

/* "2 s", "1.5 s", "300 ms". */
const char *etcd_span_text(char *text, size_t n_bytes, int64_t ns);

/* confirm.c */
int etcd_confirm_init(struct etcd_member *member); /* 0 or LUN_ENOMEM */
void etcd_confirm_fini(struct etcd_member *member);
void etcd_confirm_cancel(struct etcd_member *member);
/* What is wrong with the member at present: "refused", "silent for 2 s"; empty: nothing. */
void etcd_member_describe(const struct etcd_member *member, char *text, size_t n_bytes);

/* survey.c: a member has answered, the first of all. */
void etcd_survey_again(struct etcd *etcd);
/* survey.c: two clusters are in the list. */
void etcd_survey_stranger(struct etcd *etcd);
void etcd_survey_on_timer(struct rpc_timer *timer);
/* call.c */
void etcd_calls_init(struct etcd *etcd);
void etcd_calls_cancel(struct etcd *etcd);
/* Whether a call is for that member alone, or has asked it last. */
bool etcd_calls_use(const struct etcd *etcd, const struct etcd_member *member);
/* Calls that wait for room there choose again, soon. */
void etcd_calls_member_failed(struct etcd_member *member);
void etcd_calls_on_room_timer(struct rpc_timer *timer);

#endif
