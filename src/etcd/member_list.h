/* etcd/member_list.h - members that were not given are learnt from the cluster's own list, so that a cluster all of whose
 * first members were replaced is still served. For the files of this folder only; etcd_learn_members (etcd.h) turns it on.
 *
 * The endpoints given stay. A member learnt is one more to ask, and goes when the list no longer has it. */
#ifndef LUN_ETCD_MEMBER_LIST_H
#define LUN_ETCD_MEMBER_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sm.h"
#include "rpc/rpc.h"

struct etcd;
struct etcd_member;

struct member_list {
    struct sm sm;
    struct etcd *etcd;
    bool is_on, is_tls;
    bool is_local; /* an endpoint given is of this machine: listed ones may be, too */
    struct rpc_timer timer;
    struct rpc_call *read;     /* NULL: none is in flight */
    struct etcd_member *asked; /* of it */
    unsigned generation;       /* of the token it carries */
    int64_t sent_ns;           /* when it was last asked for; 0: never */
    unsigned n_reads;
    unsigned n_tries;  /* reads since something happened; member_list.c's TRIES at the most */
    unsigned n_probes; /* in flight */
    bool is_all_well;  /* so far, in this round */
    int64_t revision;  /* the highest heard before the candidates were chosen... */
    uint64_t raft_term;
};

/* 0 or LUN_ENOMEM. */
int member_list_init(struct member_list *list, struct etcd *etcd);
/* Takes one that is all zero. */
void member_list_fini(struct member_list *list);
/* Cancels what is in flight. */
void member_list_close(struct member_list *list);
/* A member has shown which cluster it belongs to, has failed, or answers again: the list is read soon. */
void member_list_prompt(struct member_list *list);
/* Etcd began anew: members learnt that have not shown the new cluster's id are not used any more. */
void member_list_begin_anew(struct member_list *list);

#endif
