/* etcd/mark.h - the highest value that replies have borne of something that never falls within one etcd: the raft
 * term, the revision. Pure. For the files of this folder only.
 *
 * A reply that reflects all that was committed before its request was sent, and whose request was sent after the
 * mark was last heard, cannot bear less, unless etcd began anew or the mark itself was false. A mark that one reply
 * alone has borne is taken to have been false, where the one before it still fits. */
#ifndef LUN_ETCD_MARK_H
#define LUN_ETCD_MARK_H

#include <stdint.h>

struct mark {
    uint64_t value, before;      /* 0: none yet; the next lower one that was heard */
    unsigned n_heard;            /* replies that bore it */
    int64_t heard_ns, before_ns; /* the latest of them; when the next lower one was heard */
};

enum mark_verdict { MARK_FITS, MARK_WAS_FALSE, MARK_BEGAN_ANEW };

void mark_hear(struct mark *mark, uint64_t value, int64_t now_ns);
/* Of such a reply. A false mark is lowered, one of an etcd that is no more is left. */
enum mark_verdict mark_check(struct mark *mark, uint64_t value, int64_t sent_ns);
/* Begins again with `value`. */
void mark_reset(struct mark *mark, uint64_t value, int64_t now_ns);

#endif
