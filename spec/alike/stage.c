/* spec/alike/stage.c - see stage.h. */
#include "stage.h"

const struct stage usual_stage = {.name = "usual"};
const struct stage wide_stage = {.name = "wide", .has_peer = true};
const struct stage small_stage = {.name = "small", .flags = {"--quota-backend-bytes", "1000000"}};
const struct stage guarded_stage = {.name = "guarded", .flags = {"--bcrypt-cost", "4"}, .has_users = true};
const struct stage paired_stage = {
    .name = "paired", .flags = {"--heartbeat-interval", "50", "--election-timeout", "500"}, .has_peer = true};

/* ---- the real one --------------------------------------------------------------------------------------- */

static const char *etcdctl_program(void) {
    static char beside[640];
    if (getenv("ETCDCTL"))
        return getenv("ETCDCTL");
    snprintf(beside, sizeof beside, "%sctl", etcd_program());
    return beside;
}

static bool etcdctl(const struct etcd_server *server, const char *const *words) {
    const char *args[16] = {"etcdctl", "--endpoints", server->address};
    for (int n = 3; *words; n++)
        args[n] = *words++;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execv(etcdctl_program(), (char *const *)(uintptr_t)args);
        _exit(127);
    }
    int status;
    return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool add_users(const struct etcd_server *server) {
    static const char *const commands[][8] = {
        {"user", "add", "root:toor"},
        {"user", "grant-role", "root", "root"},
        {"role", "add", "ann"},
        {"role", "grant-permission", "ann", "readwrite", "/ann", "--prefix"},
        {"user", "add", "ann:secret"},
        {"user", "grant-role", "ann", "ann"},
        {"auth", "enable"},
    };
    bool is_done = true;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        is_done = etcdctl(server, commands[i]) && is_done;
    return is_done;
}

static bool start(struct theatre *theatre) {
    struct etcd_server *server = &theatre->server, *peer = &theatre->peer;
    if (!etcd_server_prepare(server, "one"))
        return false;
    memcpy(server->flags, theatre->stage->flags, sizeof server->flags);
    if (theatre->stage->has_peer) {
        if (!etcd_server_prepare(peer, "two"))
            return false;
        memcpy(peer->flags, server->flags, sizeof peer->flags);
        snprintf(server->cluster, sizeof server->cluster, "one=http://127.0.0.1:%d,two=http://127.0.0.1:%d",
                 server->peer_port, peer->peer_port);
        memcpy(peer->cluster, server->cluster, sizeof peer->cluster);
        etcd_server_spawn(peer);
    }
    etcd_server_spawn(server);
    return server->pid > 0;
}

bool theatre_open(struct theatre *theatre, const struct stage *stage) {
    *theatre = (struct theatre){.stage = stage};
    if (!start(theatre) || !party_open_etcd(&theatre->real, &theatre->server))
        return false;
    theatre->real.peer_server = stage->has_peer ? &theatre->peer : NULL;
    if (!stage->has_users)
        return true;
    if (!add_users(&theatre->server))
        return false;
    party_become_admin(&theatre->real, "root", "toor");
    return true;
}

void theatre_close(struct theatre *theatre) {
    party_close(&theatre->real);
    etcd_server_stop(&theatre->server);
    if (theatre->stage->has_peer)
        etcd_server_stop(&theatre->peer);
}

/* ---- the other ------------------------------------------------------------------------------------------ */

void theatre_open_sim(const struct theatre *theatre, struct party *ret_party) {
    party_open_sim(ret_party);
    memcpy(ret_party->version, theatre->real.version, sizeof ret_party->version);
    if (!theatre->stage->has_users)
        return;
    sim_add_user(ret_party->sim, "root", "toor", "");
    sim_add_user(ret_party->sim, "ann", "secret", "/ann");
    sim_enable_auth(ret_party->sim);
    party_become_admin(ret_party, "root", "toor");
}
