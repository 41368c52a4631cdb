/* etcd/keepalive.h - one stream of lease renewals to one member. For the files of this folder only.
 *
 * Any number may be outstanding. Etcd answers them one after another, in the order in which they were sent: so an
 * answer belongs to the oldest outstanding one, and its send time is certain. What answers another is ignored. */
#ifndef LUN_ETCD_KEEPALIVE_H
#define LUN_ETCD_KEEPALIVE_H

#include "etcd/etcd.h"

struct keepalive;

struct keepalive_reply {
    int64_t lease;
    int64_t ttl_s; /* 0: the member knows no such lease */
    uint64_t raft_term, member_id;
    int64_t sent_ns; /* rpc_now just before the renewal was handed to the stream */
};

struct keepalive_callbacks {
    void (*on_reply)(void *arg, struct keepalive *keepalive, const struct keepalive_reply *reply);
    /* The stream broke, or was refused. Not called after keepalive_close. The object is gone when this
     * returns. */
    void (*on_broken)(void *arg, struct keepalive *keepalive, const struct lun_err *err);
};

/* Opens a stream (hasleader). 0 or LUN_ENOMEM. */
int keepalive_open(struct etcd *etcd, struct etcd_member *member, const struct keepalive_callbacks *callbacks,
                   void *arg, struct keepalive **ret_keepalive);
/* Asks for a renewal. 0 or LUN_ENOMEM. */
int keepalive_send(struct keepalive *keepalive, int64_t lease);
bool keepalive_is_waiting(const struct keepalive *keepalive);
int64_t
keepalive_sent_ns(const struct keepalive *keepalive); /* of the oldest outstanding one; else the latest */
/* Whether it was opened with the token in force, or there are none: newer servers look at a stream's token at each renewal. */
bool keepalive_has_token_in_force(const struct keepalive *keepalive);
struct etcd_member *keepalive_member(const struct keepalive *keepalive);
/* No callback any more; the memory goes by itself once the stream has ended. Takes NULL. May be called from
 * its own on_reply. */
void keepalive_close(struct keepalive *keepalive);

#endif
