/* spec/alike/stage.c - see stage.h. */
#include "stage.h"

const struct stage usual_stage = {.name = "usual"};
const struct stage wide_stage = {.name = "wide", .has_peer = true};
const struct stage small_stage = {.name = "small", .flags = {"--quota-backend-bytes", "1000000"}};
const struct stage guarded_stage = {.name = "guarded", .flags = {"--bcrypt-cost", "4"}, .has_users = true};
const struct stage fleeting_stage = {.name = "fleeting",
                                     .flags = {"--bcrypt-cost", "4", "--auth-token-ttl", "2"},
                                     .has_users = true,
                                     .token_life_s = 2};
const struct stage signed_stage = {
    .name = "signed", .flags = {"--bcrypt-cost", "4"}, .has_users = true, .are_tokens_signed = true};
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

static void as_root(const struct etcd_server *server, const char *const *words) {
    static const char *as_root[16] = {"--user", "root:toor"};
    int n = 2;
    while (*words)
        as_root[n++] = *words++;
    as_root[n] = NULL;
    if (!etcdctl(server, as_root)) {
        (void)fprintf(stderr, "conform: etcdctl %s %s fails\n", as_root[2], as_root[3]);
        abort();
    }
}

static void allow_ann(const struct etcd_server *server, const char *rights) {
    static const char *const none[] = {"role", "revoke-permission", "ann", "/ann", "--prefix", NULL};
    as_root(server, rights ? (const char *const[]){"role", "grant-permission", "ann", rights, "/ann",
                                                   "--prefix", NULL}
                           : none);
}

/* A user's password is asked for; a user made anew with its role needs no answer. */
static void set_password(const struct etcd_server *server, const char *user) {
    as_root(server, (const char *const[]){"user", "delete", "ann", NULL});
    as_root(server, (const char *const[]){"user", "add", user, NULL});
    as_root(server, (const char *const[]){"user", "grant-role", "ann", "ann", NULL});
}

void stage_change_users(const struct etcd_server *server, enum users_change change) {
    static const char *const off[] = {"auth", "disable", NULL}, *const on[] = {"auth", "enable", NULL};
    switch (change) {
    case ANN_HAS_ANOTHER_PASSWORD:
        set_password(server, "ann:another");
        break;
    case ANN_HAS_HER_PASSWORD:
        set_password(server, "ann:secret");
        break;
    case NOBODY_SHOWS_A_TOKEN:
        as_root(server, off);
        break;
    case EVERYBODY_SHOWS_A_TOKEN:
        if (!etcdctl(server, on))
            abort();
        break;
    default:
        allow_ann(server, change == ANN_MAY_READ      ? "read"
                          : change == ANN_MAY_WRITE   ? "write"
                          : change == ANN_MAY_NOTHING ? NULL
                                                      : "readwrite");
    }
}

/* With a secret of its own, beside what it keeps. */
static void sign_tokens(struct etcd_server *server) {
    static char flag[160];
    static const char secret[] = "what only this etcd knows, for its tokens";
    char path[96];
    (void)snprintf(path, sizeof path, "%s/secret", server->dir);
    FILE *file = fopen(path, "w");
    if (!file || fputs(secret, file) < 0 || fclose(file))
        abort();
    (void)snprintf(flag, sizeof flag, "jwt,priv-key=%s,sign-method=HS256,ttl=10m", path);
    int n = 0;
    while (server->flags[n])
        n++;
    server->flags[n] = "--auth-token";
    server->flags[n + 1] = flag;
}

static bool start(struct theatre *theatre) {
    struct etcd_server *server = &theatre->server, *peer = &theatre->peer;
    if (!etcd_server_prepare(server, "one"))
        return false;
    memcpy(server->flags, theatre->stage->flags, sizeof server->flags);
    if (theatre->stage->are_tokens_signed)
        sign_tokens(server);
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
    if (theatre->stage->are_tokens_signed)
        sim_sign_tokens(ret_party->sim);
    if (theatre->stage->token_life_s)
        sim_set_token_life(ret_party->sim, theatre->stage->token_life_s * NS_PER_S);
    sim_enable_auth(ret_party->sim);
    party_become_admin(ret_party, "root", "toor");
}
