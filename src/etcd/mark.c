/* etcd/mark.c - the highest raft term or revision that replies have borne. See mark.h. */
#include "etcd/mark.h"

void mark_hear(struct mark *mark, uint64_t value, int64_t now_ns) {
    if (value < mark->value) {
        if (value > mark->before) {
            mark->before = value;
            mark->before_ns = now_ns;
        }
        return;
    }
    if (value > mark->value)
        *mark = (struct mark){.value = value, .before = mark->value, .before_ns = mark->heard_ns};
    mark->n_heard++;
    mark->heard_ns = now_ns;
}

enum mark_verdict mark_check(struct mark *mark, uint64_t value, int64_t sent_ns) {
    if (value >= mark->value || sent_ns <= mark->heard_ns)
        return MARK_FITS;
    if (mark->n_heard > 1 || (value < mark->before && sent_ns > mark->before_ns))
        return MARK_BEGAN_ANEW;
    mark_reset(mark, mark->before, sent_ns > mark->before_ns ? sent_ns : mark->before_ns);
    return MARK_WAS_FALSE;
}

void mark_reset(struct mark *mark, uint64_t value, int64_t now_ns) {
    *mark =
        (struct mark){.value = value, .before = value, .n_heard = 1, .heard_ns = now_ns, .before_ns = now_ns};
}
