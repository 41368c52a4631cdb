/* etcd/watch_stream.h - the one watch stream of a cluster: opened when there is a watcher, moved when its member
 * fails, closed when it has been of no use for a while. watch_stream.c knows the stream, watch.c the watchers on it.
 * For the files of this folder only. */
#ifndef LUN_ETCD_WATCH_STREAM_H
#define LUN_ETCD_WATCH_STREAM_H

#include "base/list.h"
#include "base/sm.h"
#include "etcd/confirm.h"
#include "rpc/rpc.h"

struct etcd;
struct etcd_member;
struct watcher;
struct etcd_call;

struct watch_stream {
    struct sm sm;
    struct etcd *etcd;
    struct rpc_stream *rpc_stream; /* NULL unless open */
    unsigned generation;           /* of the token it was opened with */
    bool is_bare;                  /* there was none yet */
    struct etcd_member *member;
    struct rpc_timer timer; /* what for depends on the state, see watch_stream.c */
    int64_t opened_ns;
    int64_t heard_ns;       /* the latest message, or the asking that nothing was heard after */
    struct etcd_call *look; /* asks the member how it is; NULL: none is out */
    int64_t looked_ns;      /* when that was last asked */
    int64_t asked_ns;       /* of the oldest creation that is not answered; 0: it is not to be measured */
    bool should_move;       /* the member failed: go on elsewhere */
    unsigned n_failures;
    unsigned n_silent;        /* members, in a row, that created nothing for long */
    struct confirm suspicion; /* its member knows less than was heard: is it another etcd? */

    struct list wanted;   /* to be created as soon as a stream is open */
    struct list creating; /* asked for on this stream, in that order */
    struct list created;
    uint64_t n_asked, n_answered; /* creations, on this stream */
    struct watcher **buckets;     /* the created ones by id */
    size_t n_buckets, n_created;
};

/* 0 or LUN_ENOMEM. */
int watch_stream_init(struct watch_stream *stream, struct etcd *etcd);
/* Drops all watchers and cancels the stream. */
void watch_stream_close(struct watch_stream *stream);
/* After the stream has ended. Takes one that is all zero. */
void watch_stream_fini(struct watch_stream *stream);
/* Etcd began anew: every watcher ends with LUN_ECOMPACTED. */
void watch_stream_begin_anew(struct watch_stream *stream);
void watch_stream_member_failed(struct watch_stream *stream, const struct etcd_member *member);
void watch_stream_member_answered(struct watch_stream *stream, const struct etcd_member *member);

/* For watch.c: a watcher was added to `wanted`. 0 or LUN_ENOMEM: then it is still there. */
int watch_stream_wake(struct watch_stream *stream);
/* For watch.c: lists have changed. */
void watch_stream_rearm(struct watch_stream *stream);
/* For watch.c: the stream is of no use any more; goes on after a while. */
void watch_stream_break(struct watch_stream *stream);

/* watch.c: asks for all that are wanted. 0 or LUN_ENOMEM (some may have been asked for). */
int watch_ask_all(struct watch_stream *stream);
/* watch.c: all that were asked for or created are wanted again. */
void watch_rewind(struct watch_stream *stream);
/* watch.c: drops all, without a word, or with on_end if `err` is given. */
void watch_drop_all(struct watch_stream *stream, const struct lun_err *err);
/* watch.c: the server said something. */
void watch_on_message(struct watch_stream *stream, const ProtobufCMessage *message);

#endif
