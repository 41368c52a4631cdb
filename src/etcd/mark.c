/* etcd/mark.c - the highest raft term or revision that replies have borne. See mark.h. */
#include "etcd/mark.h"

void mark_hear(struct mark *mark, uint64_t value, int64_t now_ns) {
    if (value < mark->value)
        return;
    if (value > mark->value)
        *mark = (struct mark){.value = value, .before = mark->value};
    mark->n_heard++;
    mark->heard_ns = now_ns;
}

enum mark_verdict mark_check(struct mark *mark, uint64_t value, int64_t sent_ns) {
    if (value >= mark->value || sent_ns <= mark->heard_ns)
        return MARK_FITS;
    if (mark->n_heard > 1 || value < mark->before)
        return MARK_BEGAN_ANEW;
    *mark = (struct mark){.value = mark->before, .before = mark->before, .n_heard = 1, .heard_ns = sent_ns};
    return MARK_WAS_FALSE;
}

void mark_reset(struct mark *mark, uint64_t value, int64_t now_ns) {
    *mark = (struct mark){.value = value, .before = value, .n_heard = 1, .heard_ns = now_ns};
}
