/* etcd/watch.h - many watchers on one stream, which moves to another member when it breaks.
 *
 * A watcher lies in its caller's memory, and so do its key and range_end, as long as it runs. */
#ifndef LUN_ETCD_WATCH_H
#define LUN_ETCD_WATCH_H

#include "base/bytes.h"
#include "etcd/etcd.h"
#include "etcd/kv.h"

struct watcher;

struct watch_event {
    bool is_delete;
    struct lun_kv kv;      /* of a deletion: key and mod_rev only */
    struct lun_kv prev_kv; /* key.len 0: none, or not asked for */
    int64_t revision;      /* of the reply's header */
};

struct watch_callbacks {
    /* The server knows this watcher (again, after the stream moved). What happened before is not told: who
     * watches from 0 reads once now. `revision` is the header's: with start 0 the watch covers all after it.
     * If a later read bears the same revision, nothing was written in between: then no event can have been
     * missed or delayed by the server's slow loop. */
    void (*on_created)(struct watcher *watcher, int64_t revision);
    void (*on_event)(struct watcher *watcher, const struct watch_event *event);
    /* The server refused or ended it: LUN_ECOMPACTED (`compact_rev` says up to where), LUN_EPERMISSION,
     * LUN_EINVALID... It is stopped. A broken stream or a member without a leader is no reason: then it is
     * created anew elsewhere. */
    void (*on_end)(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev);
};
/* Each callback may stop, free or restart any watcher, its own included. */

struct watcher {
    /* set by the caller before watch_start */
    const struct watch_callbacks *callbacks;
    struct lun_bytes key, range_end;
    int64_t start_rev;    /* 0: from now on */
    bool is_deletes_only; /* NOPUT */
    bool wants_prev_kv;
    bool is_resumed; /* when created anew: after the last revision seen (else from start_rev again); events
                        are told once each */
    /* the stream's */
    struct etcd *etcd;
    struct list in_stream;
    int64_t id;
    int64_t next_rev;
    struct watcher *next_by_id;
    int state;
};

/* For a watcher that is all zero or stopped. 0 or LUN_ENOMEM. */
int watch_start(struct etcd *etcd, struct watcher *watcher);
/* No callback any more. Harmless when stopped, or all zero. */
void watch_stop(struct watcher *watcher);
bool watch_is_running(const struct watcher *watcher);

#endif
