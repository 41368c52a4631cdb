/* sim/watch.c - the servers' ends of watches.
 *
 * One that starts with what comes next gets each revision when it is applied. One that starts earlier
 * is slow: a loop, every 100 ms, tells it of all it missed in one message, and it is slow no more. So two
 * watches are not ordered against each other. */
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

/* Of which one message of the slow loop tells at most. */
enum { MAX_REVISIONS = 1000 };

struct sim_watch {
    struct list in_watches;
    int64_t id, next_rev;
    struct sim_range range; /* its memory is ours */
    bool has_no_puts, has_no_deletes, wants_prev_kv, is_slow;
};

static struct sim_watch *watch_at(struct list *node) {
    return CONTAINER_OF(node, struct sim_watch, in_watches);
}

static struct sim_watch *find(const struct sim_server_stream *server, int64_t id) {
    for (struct list *node = server->watches.next; node != &server->watches; node = node->next)
        if (watch_at(node)->id == id)
            return watch_at(node);
    return NULL;
}

static void drop(struct sim_watch *watch) {
    list_remove(&watch->in_watches);
    free((void *)(uintptr_t)watch->range.from.data);
    free((void *)(uintptr_t)watch->range.end.data);
    free(watch);
}

void sim_drop_watches(struct sim_server_stream *server) {
    while (!list_is_empty(&server->watches))
        drop(watch_at(server->watches.next));
}

/* ---- created and cancelled ------------------------------------------------------------------------------ */

static struct lun_bytes own(struct lun_bytes bytes) {
    char *copy = sim_alloc(bytes.len + 1);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return (struct lun_bytes){copy, bytes.len};
}

static void refuse(struct sim_server_stream *server, const char *why) {
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.header = sim_member_header(server->member);
    response.watch_id = -1;
    response.created = response.canceled = 1;
    response.cancel_reason = (char *)(uintptr_t)why;
    sim_tell(server, &response.base);
}

static struct sim_watch *new_watch(struct sim_server_stream *server,
                                   const Etcdserverpb__WatchCreateRequest *request,
                                   const struct sim_range *range) {
    struct sim *sim = server->sim;
    struct sim_watch *watch = sim_alloc(sizeof *watch);
    watch->range = sim_range_of(own(range->from), own(range->end));
    for (size_t i = 0; i < request->n_filters; i++)
        if (request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT)
            watch->has_no_puts = true;
        else
            watch->has_no_deletes = true;
    watch->wants_prev_kv = request->prev_kv;
    watch->id = request->watch_id;
    while (request->watch_id == 0 && find(server, server->next_watch_id))
        server->next_watch_id++;
    if (request->watch_id == 0)
        watch->id = server->next_watch_id++;
    int64_t applied_rev = sim_applied_rev(server->member);
    watch->next_rev = request->start_revision ? request->start_revision : applied_rev + 1;
    /* "From now on" becomes a number before the watcher is registered: now and then a write comes between.
     */
    watch->is_slow = watch->next_rev <= applied_rev || (!request->start_revision && sim_chance(sim, 30));
    list_push_back(&server->watches, &watch->in_watches);
    return watch;
}

void sim_create_watch(struct sim_server_stream *server, const Etcdserverpb__WatchCreateRequest *request) {
    struct lun_bytes key = request->key.len > 0 ? sim_bytes(request->key) : (struct lun_bytes){"", 1};
    struct sim_range range = sim_range_of(key, sim_bytes(request->range_end));
    if (range.end.len > 0 && !range.is_open && sim_bytes_order(range.from, range.end) >= 0) {
        refuse(server, "mvcc: watcher range is empty");
        return;
    }
    struct sim_answer may = sim_authorize(server->member, server->token, RPC_WATCH, &request->base);
    if (may.status) {
        refuse(server, may.message);
        return;
    }
    if (request->watch_id && find(server, request->watch_id)) {
        refuse(server, "mvcc: duplicate watch ID provided on the WatchStream");
        return;
    }
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.header = sim_member_header(server->member);
    response.created = 1;
    response.watch_id = new_watch(server, request, &range)->id;
    sim_tell(server, &response.base);
}

void sim_cancel_watch(struct sim_server_stream *server, int64_t id) {
    struct sim_watch *watch = find(server, id);
    if (!watch)
        return;
    drop(watch);
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.header = sim_member_header(server->member);
    response.canceled = 1;
    response.watch_id = id;
    sim_tell(server, &response.base);
}

/* ---- telling -------------------------------------------------------------------------------------------- */

static size_t first_change_at(const struct sim *sim, int64_t revision) {
    size_t low = 0, high = sim->n_changes;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sim->changes[middle].kv.mod_rev < revision)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_wanted(const struct sim_server_stream *server, const struct sim_watch *watch,
                      const struct sim_change *change) {
    struct sim *sim = server->sim;
    if (!sim_range_has(&watch->range, sim_key_of(&change->kv)) ||
        (change->is_delete ? watch->has_no_deletes : watch->has_no_puts))
        return false;
    bool is_place = change->is_delete || change->kv.lease != 0; /* a plain watch has nothing to read again */
    if (!is_place || !sim_chance(sim, sim->faults.event_dropped))
        return true;
    sim_say(sim, "fault: %s forgets to tell of %s", sim_addresses[server->member->index], change->kv.key);
    return false;
}

/* What the key held at the revision before; NULL: nothing, or it is compacted. */
static const struct sim_kv *before(const struct sim *sim, const struct sim_change *change) {
    int64_t revision = change->kv.mod_rev;
    if (revision <= sim->compacted_rev)
        return NULL;
    while (change->before && sim->changes[change->before - 1].kv.mod_rev == revision)
        change = &sim->changes[change->before - 1];
    return change->before ? &sim->changes[change->before - 1].kv : NULL;
}

static Etcdserverpb__Event *event_of(struct sim *sim, const struct sim_watch *watch,
                                     const struct sim_change *change) {
    Etcdserverpb__Event *event = sim_take(sim, sizeof *event);
    etcdserverpb__event__init(event);
    event->type =
        change->is_delete ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE : ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
    event->kv = sim_kv_message(sim, &change->kv, true);
    const struct sim_kv *old = watch->wants_prev_kv ? before(sim, change) : NULL;
    if (old)
        event->prev_kv = sim_kv_message(sim, old, true);
    return event;
}

static void send(struct sim_server_stream *server, const struct sim_watch *watch,
                 Etcdserverpb__WatchResponse *response, int64_t header_rev) {
    if (response->n_events == 0)
        return;
    response->header = sim_member_header(server->member);
    response->header->revision = header_rev;
    response->watch_id = watch->id;
    sim_tell(server, &response->base);
    response->n_events = 0;
}

/* One message for each revision, or, by the slow loop, for a thousand. */
static void tell_changes(struct sim_server_stream *server, struct sim_watch *watch, bool is_batch) {
    struct sim *sim = server->sim;
    int64_t applied_rev = sim_applied_rev(server->member);
    size_t end = server->member->applied ? sim->entries[server->member->applied - 1].n_changes : 0;
    size_t i = first_change_at(sim, watch->next_rev);
    Etcdserverpb__Event **events = end > i ? calloc(end - i, sizeof *events) : NULL;
    if (end > i && !events)
        sim_die("out of memory");
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.events = events;
    watch->next_rev = applied_rev + 1;
    int64_t revision = 0;
    int n_revisions = 0;
    for (; i < end && !server->is_over; i++) {
        const struct sim_change *change = &sim->changes[i];
        if (!is_wanted(server, watch, change))
            continue;
        if (change->kv.mod_rev != revision && !is_batch)
            send(server, watch, &response, revision);
        if (change->kv.mod_rev != revision && is_batch && n_revisions++ == MAX_REVISIONS) {
            watch->next_rev = change->kv.mod_rev;
            watch->is_slow = true;
            break;
        }
        revision = change->kv.mod_rev;
        response.events[response.n_events++] = event_of(sim, watch, change);
    }
    send(server, watch, &response, is_batch ? applied_rev : revision);
    free(events);
    sim_drop_garbage(sim);
}

static void tell_compacted(struct sim_server_stream *server, struct sim_watch *watch) {
    Etcdserverpb__WatchResponse gone = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    gone.header = sim_member_header(server->member);
    gone.header->revision = 0; /* as etcd has it */
    gone.canceled = 1;
    gone.watch_id = watch->id;
    gone.compact_revision = server->sim->compacted_rev;
    drop(watch);
    sim_tell(server, &gone.base);
}

static void tell(struct sim_server_stream *server, struct sim_watch *watch) {
    bool was_slow = watch->is_slow;
    if (was_slow && watch->next_rev < server->sim->compacted_rev) {
        tell_compacted(server, watch);
        return;
    }
    watch->is_slow = false;
    if (watch->next_rev <= sim_applied_rev(server->member))
        tell_changes(server, watch, was_slow);
}

static void tell_all(struct sim_server_stream *server, bool is_slow_loop) {
    struct list *node, *next;
    for (node = server->watches.next; node != &server->watches && !server->is_over; node = next) {
        next = node->next;
        if (watch_at(node)->is_slow == is_slow_loop)
            tell(server, watch_at(node));
    }
}

void sim_tell_watches(struct sim_member *member, bool is_slow_loop) {
    struct list *node, *next;
    for (node = member->streams.next; node != &member->streams; node = next) {
        next = node->next;
        tell_all(CONTAINER_OF(node, struct sim_server_stream, in_streams), is_slow_loop);
    }
}
