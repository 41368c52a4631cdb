/* recipe/observer.c - follows the first key of a line: a watch, and a read whenever it may have changed.
 * See observer.h.
 *
 * A watch on the whole prefix, from now on; once the server knows it (again) one read; and another whenever
 * an event may have changed who is first: the leader's key deleted, any deleted while a read was under way, one made
 * while there was none. The leader's proclaim is taken from the event itself; one of another's, while a read is under
 * way that may make it the leader, is read. Reads without cause are of the leader's key alone.
 *
 * Departs from etcd's Go client: no leader is told too, compaction is a re-read, nothing ends without a word. */
#include "recipe/observer.h"

#include "etcd/backoff.h"
#include "etcd/kv.h"
#include "recipe/line.h"
#include "recipe/place.h"

#define REREAD_NS (10 * NS_PER_S)
#define REWATCH_NS NS_PER_S
#define SILENT_NS (REREAD_NS + REREAD_NS / 2) /* a read without cause would have been answered since */

static void read_line(struct observer *observer);

static void schedule(struct observer *observer, int64_t span) {
    struct rpc *rpc = etcd_rpc(observer->etcd);
    rpc_timer_start(&observer->timer, rpc_now(rpc) + backoff_early(rpc, span, 4));
}

static void finish_closing(struct observer *observer) {
    etcd_unfollow(&observer->follower);
    rpc_timer_fini(&observer->timer);
    bytes_fini(&observer->prefix);
    bytes_fini(&observer->prefix_end);
    bytes_fini(&observer->key);
    bytes_fini(&observer->value);
    observer->on_closed(observer);
}

/* `kv` NULL: nobody. Tells when that is news. */
static void take(struct observer *observer, const struct lun_kv *kv) {
    bool is_same = observer->is_known && observer->has_leader == (kv != NULL) &&
                   (!kv || (kv->create_rev == observer->create_rev && kv->mod_rev == observer->mod_rev));
    if (is_same)
        return;
    struct bytes key = {NULL, 0}, value = {NULL, 0};
    if (kv && (bytes_copy(&key, kv->key) || bytes_copy(&value, kv->value))) {
        bytes_fini(&key);
        schedule(observer, REWATCH_NS); /* no memory now: read again soon */
        return;
    }
    bytes_fini(&observer->key);
    bytes_fini(&observer->value);
    observer->key = key;
    observer->value = value;
    observer->create_rev = kv ? kv->create_rev : 0;
    observer->mod_rev = kv ? kv->mod_rev : 0;
    observer->has_leader = kv != NULL;
    observer->is_known = true;
    observer->on_change(observer);
}

/* Until the line was read: an event is not enough. */
static void forget(struct observer *observer) {
    observer->is_known = observer->has_leader = false;
}

/* Revisions begin again, and in a snapshot another may be first. */
static void begin_again(struct observer *observer, int64_t began_ns) {
    observer->began_ns = began_ns;
    observer->revision = 0;
    forget(observer);
}

static void on_read(void *arg, const struct etcd_reply *reply) {
    struct observer *observer = arg;
    observer->call = NULL;
    if (observer->is_closed) {
        finish_closing(observer);
        return;
    }
    if (reply->err) {
        schedule(observer, REWATCH_NS);
        return;
    }
    schedule(observer, watch_is_running(&observer->watcher) ? REREAD_NS : REWATCH_NS);
    if (observer->began_ns < etcd_began_ns(observer->etcd) && reply->sent_ns >= etcd_began_ns(observer->etcd))
        begin_again(observer, etcd_began_ns(observer->etcd));
    const struct lun_kv *kv = reply->results[0].n_kvs > 0 ? &reply->results[0].kvs[0] : NULL;
    bool is_first =
        !observer->is_asking_key || (kv && observer->is_known && kv->create_rev == observer->create_rev);
    if (observer->is_dirty || !is_first || (!kv && observer->has_anybody_come))
        read_line(observer); /* this reply is told all the same: where much happens it would never be */
    if (reply->sent_ns < observer->began_ns)
        return; /* of an etcd that is no more */
    bool is_known_false =
        observer->revision > etcd_highest_revision(observer->etcd); /* one reply alone bore it */
    if (reply->revision < observer->revision && !is_known_false)
        return; /* a member that lags behind what an event has told already; the next read will do */
    if (!is_first)
        return; /* it leads no more: who is first now, the line shows */
    observer->revision = reply->revision;
    observer->confirmed_ns = reply->sent_ns;
    take(observer, kv);
}

static void read_op(struct observer *observer, const struct lun_kv_op *read) {
    if (observer->call) {
        observer->is_dirty = true;
        return;
    }
    observer->is_dirty = observer->has_anybody_come = false;
    struct etcd_call_options how = {.class = ETCD_LOOK, .deadline_ns = RPC_NEVER, .is_idempotent = true};
    observer->is_asking_key = read->range_end.len == 0;
    /* In a transaction, whose revision is told twice: by a false one the observer would stand in the future. */
    struct lun_txn txn = {.success = read, .n_success = 1};
    if (etcd_txn(observer->etcd, &txn, &how, on_read, observer, &observer->call))
        schedule(observer, REWATCH_NS);
}

/* Who is first? Etcd reads the whole line. */
static void read_line(struct observer *observer) {
    struct lun_kv_op first = line_first(bytes_view(&observer->prefix), bytes_view(&observer->prefix_end));
    read_op(observer, &first);
}

/* Without cause: as long as the leader's key is there, it is first, however many stand behind it. */
static void read_again(struct observer *observer) {
    if (observer->is_known && observer->has_leader)
        read_op(observer, &(struct lun_kv_op){.kind = LUN_OP_RANGE, .key = bytes_view(&observer->key)});
    else
        read_line(observer);
}

static void on_created(struct watcher *watcher, int64_t revision) {
    (void)revision;
    read_again(CONTAINER_OF(watcher, struct observer, watcher));
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    struct observer *observer = CONTAINER_OF(watcher, struct observer, watcher);
    bool is_key = observer->has_leader && lun_bytes_equal(event->kv.key, bytes_view(&observer->key));
    bool is_proclaim = is_key && !event->is_delete && event->kv.create_rev == observer->create_rev;
    bool is_change = event->is_delete || event->kv.create_rev != event->kv.mod_rev;
    if (event->kv.mod_rev <= observer->revision && observer->is_known)
        return; /* the read knew it already */
    if (is_proclaim) {
        observer->revision = event->kv.mod_rev;
        take(observer, &event->kv);
    } else if (observer->call ? is_change : event->is_delete ? is_key : !observer->has_leader) {
        read_line(observer); /* one in flight may have missed it */
    } else {
        observer->has_anybody_come |= !event->is_delete; /* behind the leader, if there is one */
    }
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct observer *observer = CONTAINER_OF(watcher, struct observer, watcher);
    (void)err, (void)compact_rev;
    schedule(observer, REWATCH_NS);
}

static const struct watch_callbacks watch_callbacks = {on_created, on_event, on_end};

static void on_began_anew(struct etcd_follower *follower, int64_t began_ns) {
    struct observer *observer = CONTAINER_OF(follower, struct observer, follower);
    if (observer->is_closed || began_ns == ETCD_BEGAN_NEVER)
        return;
    if (observer->began_ns < began_ns)
        begin_again(observer, began_ns);
    rpc_timer_start(&observer->timer, rpc_now(etcd_rpc(observer->etcd)));
}

static void on_timer(struct rpc_timer *timer) {
    struct observer *observer = CONTAINER_OF(timer, struct observer, timer);
    if (!watch_is_running(&observer->watcher) && watch_start(observer->etcd, &observer->watcher))
        schedule(observer, REWATCH_NS);
    read_again(observer);
}

int observer_open(struct observer *observer, struct etcd *etcd, struct lun_bytes name,
                  void (*on_change)(struct observer *observer), struct lun_err *ret_err) {
    int rc = place_check_name(name, ret_err);
    if (rc)
        return rc;
    *observer = (struct observer){.etcd = etcd, .on_change = on_change};
    observer->watcher.callbacks = &watch_callbacks;
    if (bytes_printf(&observer->prefix, "%.*s/", (int)name.len, (const char *)name.data) ||
        bytes_prefix_end(&observer->prefix_end, bytes_view(&observer->prefix)) ||
        rpc_timer_init(etcd_rpc(etcd), &observer->timer, on_timer))
        goto no_memory;
    observer->watcher.key = bytes_view(&observer->prefix);
    observer->watcher.range_end = bytes_view(&observer->prefix_end);
    if (watch_start(etcd, &observer->watcher))
        goto no_memory;
    observer->began_ns = etcd_began_ns(etcd);
    observer->follower.on_began_anew = on_began_anew;
    etcd_follow(etcd, &observer->follower);
    schedule(observer, REREAD_NS);
    return 0;

no_memory:
    rpc_timer_fini(&observer->timer);
    bytes_fini(&observer->prefix_end);
    bytes_fini(&observer->prefix);
    return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
}

void observer_confirm(struct observer *observer) {
    int64_t now_ns = rpc_now(etcd_rpc(observer->etcd));
    if (!observer->is_known || now_ns - observer->confirmed_ns <= SILENT_NS)
        return;
    forget(observer);
    rpc_timer_start(&observer->timer, now_ns);
}

void observer_close(struct observer *observer, void (*on_closed)(struct observer *observer)) {
    observer->is_closed = true;
    observer->on_closed = on_closed;
    watch_stop(&observer->watcher);
    rpc_timer_stop(&observer->timer);
    if (observer->call)
        etcd_cancel(observer->call);
    else
        finish_closing(observer);
}
