/* etcd/discovery.c - asks DNS where the members are: at the start, until it has said so, and again whenever all members
 * have failed. See discovery.h.
 *
 * Names as etcdctl has them: _etcd-client-ssl._tcp.DOMAIN over TLS, _etcd-client._tcp.DOMAIN in plaintext; with a name of
 * the service, _etcd-client-ssl-NAME._tcp.DOMAIN. Members of the lowest priority are asked first.
 *
 * Until DNS has answered a placeholder stands in the list: a member that cannot be reached, so that calls wait as they do for
 * an etcd that is away, and say why.
 *
 * Departs from etcdctl: whether TLS is spoken hangs on the client's options, not on which records there are. */
#include "etcd/discovery.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "etcd/backoff.h"
#include "etcd/cluster.h"

#define LOOK_FIRST_NS (2 * NS_PER_MS)
#define LOOK_MOST_NS (50 * NS_PER_MS)
#define AGAIN_LEAST_NS (500 * NS_PER_MS)
#define AGAIN_MOST_NS (30 * NS_PER_S)
#define APART_NS (5 * NS_PER_S)

static void service_name(const struct discovery *discovery, bool is_tls, char *text, size_t n_bytes) {
    const char *domain = rpc_channel_address(discovery->placeholder->channel) + strlen("srv://");
    const char *name = strchr(domain, '/');
    int len = name ? (int)(name - domain) : (int)strlen(domain);
    (void)snprintf(text, n_bytes, "_etcd-client%s%s%s._tcp.%.*s", is_tls ? "-ssl" : "", name ? "-" : "",
                   name ? name + 1 : "", len, domain);
}

const char *discovery_trouble(const struct discovery *discovery) {
    return discovery->error[0] ? discovery->error : "has not been answered by DNS yet";
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void ask_again_later(struct discovery *discovery) {
    struct rpc *rpc = discovery->etcd->rpc;
    int64_t delay = backoff_around(rpc, backoff_grown(AGAIN_LEAST_NS, AGAIN_MOST_NS, discovery->n_failures));
    discovery->n_failures++;
    rpc_timer_start(&discovery->timer, rpc_now(rpc) + delay);
}

static void ask(struct discovery *discovery, bool is_tls) {
    char name[2 * ENDPOINT_ADDRESS_BYTES];
    struct rpc *rpc = discovery->etcd->rpc;
    service_name(discovery, is_tls, name, sizeof name);
    discovery->is_asking_for_other = is_tls != discovery->is_tls;
    discovery->asked_ns = rpc_now(rpc);
    discovery->look_ns = LOOK_FIRST_NS;
    int rc = rpc_lookup_start(rpc, name, &discovery->lookup);
    if (rc) {
        (void)snprintf(discovery->error, sizeof discovery->error, "%s: %s", name, lun_strerror(rc));
        ask_again_later(discovery);
        return;
    }
    trace_line(discovery->etcd->trace, "etcd: DNS is asked for %s", name);
    rpc_timer_start(&discovery->timer, rpc_now(rpc) + discovery->look_ns);
}

/* ---- what was found --------------------------------------------------------------------------------- */

static struct etcd_member *find(const struct etcd *etcd, const char *address) {
    for (size_t i = 0; i < etcd->n_slots; i++)
        if (etcd->members[i].is_used && strcasecmp(etcd_member_address(&etcd->members[i]), address) == 0)
            return (struct etcd_member *)&etcd->members[i];
    return NULL;
}

/* False: the record is of no use. */
static bool endpoint_of(const struct rpc_srv *record, struct endpoint *ret_endpoint) {
    char text[RPC_HOST_BYTES + 8];
    (void)snprintf(text, sizeof text, "%s:%u", record->host, record->port);
    return endpoint_parse(text, ret_endpoint);
}

/* False: there is no room for it, or no memory. */
static bool use(struct etcd *etcd, const struct endpoint *endpoint) {
    struct etcd_member *member = find(etcd, endpoint->address);
    if (!member) {
        member = etcd_member_add(etcd, endpoint->address);
        if (!member)
            return false;
        etcd_member_use(member);
        trace_line(etcd->trace, "etcd: DNS names %s", endpoint->address);
    }
    member->is_given = true;
    etcd->member_list.is_local |= endpoint_place(endpoint) == ENDPOINT_LOCAL;
    return true;
}

static bool is_in(const struct rpc_lookup *lookup, const char *address) {
    struct endpoint endpoint;
    for (size_t i = 0; i < lookup->n; i++)
        if (endpoint_of(&lookup->records[i], &endpoint) && strcasecmp(endpoint.address, address) == 0)
            return true;
    return false;
}

static void refuse(struct discovery *discovery, const char *why) {
    char name[2 * ENDPOINT_ADDRESS_BYTES];
    service_name(discovery, discovery->is_tls, name, sizeof name);
    (void)snprintf(discovery->error, sizeof discovery->error, "%s (%s)", why, name);
    trace_line(discovery->etcd->trace, "etcd: %s", discovery->error);
    ask_again_later(discovery);
}

/* The new ones first: there is always a member in use. An answer of which nothing can be used takes none away. */
static void use_all(struct discovery *discovery, const struct rpc_lookup *lookup) {
    struct etcd *etcd = discovery->etcd;
    struct endpoint endpoint;
    size_t n = 0;
    for (size_t i = 0; i < lookup->n; i++)
        n += endpoint_of(&lookup->records[i], &endpoint) && use(etcd, &endpoint);
    if (n == 0) {
        refuse(discovery, "DNS names no member that can be used");
        return;
    }
    for (size_t i = 0; i < etcd->n_slots && etcd->n_used > 1; i++) {
        struct etcd_member *member = &etcd->members[i];
        bool is_gone = member->is_given && !is_in(lookup, etcd_member_address(member));
        if (member->is_used && (is_gone || member == discovery->placeholder))
            etcd_member_leave(member, is_gone ? "is not named by DNS any more" : "is known now");
    }
    discovery->error[0] = '\0';
    discovery->n_failures = 0;
    (void)etcd_survey(etcd);
}

static void on_answer(struct discovery *discovery, const struct rpc_lookup *lookup) {
    if (discovery->is_asking_for_other && lookup->error[0] == '\0')
        refuse(discovery, discovery->is_tls
                              ? "DNS has records of plaintext members alone, but TLS options are set"
                              : "DNS has records of members that speak TLS alone: set cacert");
    else if (discovery->is_asking_for_other)
        refuse(discovery, "DNS has no such SRV record");
    else if (lookup->is_missing)
        ask(discovery, !discovery->is_tls);
    else if (lookup->error[0] != '\0')
        refuse(discovery, lookup->error);
    else
        use_all(discovery, lookup);
}

static void on_timer(struct rpc_timer *timer) {
    struct discovery *discovery = CONTAINER_OF(timer, struct discovery, timer);
    struct rpc_lookup *lookup = discovery->lookup;
    if (!lookup) {
        ask(discovery, discovery->is_tls);
        return;
    }
    if (!atomic_load(&lookup->is_done)) {
        discovery->look_ns = discovery->look_ns * 2 < LOOK_MOST_NS ? discovery->look_ns * 2 : LOOK_MOST_NS;
        rpc_timer_start(timer, rpc_now(discovery->etcd->rpc) + discovery->look_ns);
        return;
    }
    discovery->lookup = NULL;
    on_answer(discovery, lookup);
    rpc_lookup_free(lookup);
}

void discovery_prompt(struct discovery *discovery) {
    struct etcd *etcd = discovery->etcd;
    bool is_under_way = discovery->lookup || rpc_timer_is_running(&discovery->timer);
    if (!discovery->placeholder || discovery->placeholder->is_used || etcd->is_closing || is_under_way)
        return;
    int64_t now_ns = rpc_now(etcd->rpc), at_ns = discovery->asked_ns + APART_NS;
    rpc_timer_start(&discovery->timer, at_ns > now_ns ? at_ns : now_ns);
}

/* ---- life ------------------------------------------------------------------------------------------- */

int discovery_init(struct discovery *discovery, struct etcd *etcd) {
    discovery->etcd = etcd;
    return rpc_timer_init(etcd->rpc, &discovery->timer, on_timer);
}

void discovery_close(struct discovery *discovery) {
    rpc_timer_stop(&discovery->timer);
    rpc_lookup_free(discovery->lookup);
    discovery->lookup = NULL;
}

void discovery_fini(struct discovery *discovery) {
    rpc_lookup_free(discovery->lookup);
    rpc_timer_fini(&discovery->timer);
}

void etcd_discover(struct etcd *etcd, bool is_tls) {
    struct discovery *discovery = &etcd->discovery;
    discovery->is_tls = is_tls;
    if (discovery->placeholder)
        ask(discovery, is_tls);
}
