/* lab/open_sim.c - the simulated counterpart of client/open_grpc.c: a client is opened on the world under way, for the process
 * whose code runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "lab/run.h"

#define ABANDONED_MS 5000
#define SLICE_NS (20 * NS_PER_MS)

void (*on_client_opened)(struct process_client *own);

int64_t lun_now_ns(void) {
    return the_process ? process_now_ns(the_process) : 0;
}

static void on_note(void *arg) {
    struct process_client *own = arg;
    struct process *process = own->process;
    own->has_note = true;
    if (!process->run->sim) /* the world was left */
        return;
    if (own->is_abandoned || !process->is_up || !process->is_waiting || process->is_due)
        return;
    struct sim *sim = process->run->sim;
    int64_t at_ns = sim_now(sim) + sim_below(sim, NS_PER_MS / 4);
    if (process->is_paused)
        process->is_due = true;
    else if (!process->wake.node.index || process->wake.node.key > at_ns)
        sim_at(sim, &process->wake, at_ns);
}

static void wait(void *arg, int64_t until_ns) {
    struct process_client *own = arg;
    own->has_note = false;
    process_wait(own->process, until_ns, own);
}

static const struct sim_host host = {on_note, wait};

/* "web-2 (pid 4711)" must be the same in every run. */
static int set_identity(struct lun_client *client, const struct process *process, const char *name) {
    bytes_fini(&client->identity);
    return bytes_printf(&client->identity, "{\"name\":\"%s\",\"host\":\"%s\",\"pid\":%d}",
                        name && !strpbrk(name, "\"\\") ? name : process->name, process->name,
                        1000 * (process->index + 1) + process->n_lives);
}

static int open_in(struct process *process, const struct lun_config *config, struct process_client *own,
                   struct lun_err *ret_err) {
    struct lun_config here = config ? *config : (struct lun_config){0};
    here.endpoints = sim_addresses;
    here.n_endpoints = SIM_MEMBERS;
    here.only_given_endpoints = true; /* they are all that there are */
    own->process = process;
    /* Chance hangs on the name: no two lives may choose the same leases. */
    char name[RUN_NAME_BYTES + 24];
    (void)snprintf(name, sizeof name, "%s.%d.%d", process->name, process->n_lives, ++process->n_clients);
    own->sim = sim_client_new(process->run->sim, name, 0);
    sim_client_join(own->sim, process->clock, &host, own);
    if (on_client_opened)
        on_client_opened(own);
    int rc = client_open_on(sim_client_rpc(own->sim), &here, &own->client, ret_err);
    if (!rc && set_identity(own->client, process, here.name)) {
        lun_client_free(own->client);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    return rc;
}

int lun_client_open(const struct lun_config *config, struct lun_client **ret_client,
                    struct lun_err *ret_err) {
    if (!the_process || the_process->is_dying)
        return lun_err_set(ret_err, LUN_ECLOSED,
                           "nothing can be opened here: no process of the simulation runs");
    struct process_client *own = calloc(1, sizeof *own);
    if (!own)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    int rc = open_in(the_process, config, own, ret_err);
    if (rc) {
        free(own);
        return rc;
    }
    list_push_back(&the_process->clients, &own->in_process);
    *ret_client = own->client;
    return 0;
}

static void free_client(struct process_client *own) {
    list_remove(&own->in_process);
    lun_client_free(own->client);
    free(own);
}

static struct process_client *find(struct process *process, const struct lun_client *client) {
    for (struct list *node = process->clients.next; node != &process->clients; node = node->next) {
        struct process_client *own = CONTAINER_OF(node, struct process_client, in_process);
        if (own->client == client)
            return own;
    }
    return NULL;
}

bool process_has_client(struct process *process, const struct lun_client *client) {
    return find(process, client) != NULL;
}

void lun_client_abandon(struct lun_client *client) {
    struct process_client *own = client && the_process ? find(the_process, client) : NULL;
    if (!own)
        return;
    own->is_abandoned = true;
    if (the_process->is_dying)
        free_client(own);
    else
        client_dismiss(client, ABANDONED_MS);
}

static struct process_client *first_abandoned(struct process *process) {
    for (struct list *node = process->clients.next; node != &process->clients; node = node->next) {
        struct process_client *own = CONTAINER_OF(node, struct process_client, in_process);
        if (own->is_abandoned)
            return own;
    }
    return NULL;
}

void lun_shutdown(int64_t timeout_ms) {
    struct process *process = the_process;
    if (!process || process->is_dying)
        return;
    int64_t until_ns = timeout_ms < 0 ? RPC_NEVER : process_now_ns(process) + timeout_ms * NS_PER_MS;
    struct process_client *own;
    while ((own = first_abandoned(process))) {
        while (!client_is_over(own->client) && process_now_ns(process) < until_ns)
            process_sleep(process, process_now_ns(process) + SLICE_NS);
        free_client(own);
    }
}

void clients_free(struct process *process) {
    while (!list_is_empty(&process->clients))
        free_client(CONTAINER_OF(process->clients.next, struct process_client, in_process));
}
