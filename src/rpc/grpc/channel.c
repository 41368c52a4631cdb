/* rpc/grpc/channel.c - one channel to one member.
 *
 * Names go through gRPC's resolver one at a time, addresses past it (several names in one target do not work,
 * and the choice among members is ours anyway). */
#include "rpc/grpc/env.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_security.h>

#include "base/clock.h"

#define ARG(name, number)                                                                                    \
    { .type = GRPC_ARG_INTEGER, .key = (char *)(name), .value.integer = (number) }

/* In milliseconds. The pings keep to what a default etcd accepts (one in 5 s, with a stream open); faster
 * earns GOAWAY. */
static grpc_arg args[] = {
    ARG("grpc.enable_http_proxy", 0),         /* it would hijack even the loopback */
    ARG("grpc.use_local_subchannel_pool", 1), /* two clients do not share a socket */
    ARG("grpc.enable_retries", 0), /* who repeats what is decided above: a repeated write is a write */
    ARG("grpc.service_config_disable_resolution", 1),
    ARG("grpc.initial_reconnect_backoff_ms", 100),
    ARG("grpc.dns_min_time_between_resolutions_ms", 1000),
    ARG("grpc.keepalive_time_ms", 6000),
    ARG("grpc.keepalive_timeout_ms", 2000),
    ARG("grpc.keepalive_permit_without_calls", 0),
    ARG("grpc.http2.max_pings_without_data", 0), /* no limit: an idle watch must notice a dead member too */
    ARG("grpc.max_receive_message_length", -1),
};

enum { HOST_BYTES = 256, TARGET_BYTES = HOST_BYTES + 32 };

/* "host:port" or "[IPv6]:port" apart. False: it is the path of a socket, or nothing. */
static bool split(const char *address, char host[HOST_BYTES], const char **ret_port) {
    const char *colon = strrchr(address, ':');
    if (!colon || strncmp(address, "unix:", 5) == 0 || strncmp(address, "srv:", 4) == 0)
        return false;
    bool is_bracketed = address[0] == '[';
    int len = (int)(colon - address) - (is_bracketed ? 2 : 0);
    if (len < 1 || len >= HOST_BYTES)
        return false;
    (void)snprintf(host, HOST_BYTES, "%.*s", len, address + (is_bracketed ? 1 : 0));
    *ret_port = colon + 1;
    return true;
}

static int target_of(const char *address, char target[TARGET_BYTES], struct lun_err *ret_err) {
    char host[HOST_BYTES];
    const char *port;
    struct in_addr scratch;
    if (strncmp(address, "unix:/", 6) == 0)
        (void)snprintf(target, TARGET_BYTES, "%s", address);
    else if (strncmp(address, "srv:", 4) == 0)
        (void)snprintf(target, TARGET_BYTES, "unix:/proc/0/none"); /* where nothing is, at once */
    else if (!split(address, host, &port))
        return lun_err_set(ret_err, LUN_EINVALID, "\"%s\" is not the address of a member", address);
    else if (strchr(
                 host,
                 ':')) /* the zone of an IPv6 address begins with a percent sign: escaped, as all in a URI */
        (void)snprintf(target, TARGET_BYTES, "ipv6:%%5B%.*s%s%s%%5D:%s", (int)strcspn(host, "%"), host,
                       strchr(host, '%') ? "%25" : "", strchr(host, '%') ? strchr(host, '%') + 1 : "", port);
    else if (inet_pton(AF_INET, host, &scratch) == 1)
        (void)snprintf(target, TARGET_BYTES, "ipv4:%s:%s", host, port);
    else
        (void)snprintf(target, TARGET_BYTES, "dns:///%s:%s", host, port);
    return 0;
}

/* The arguments, the limit of an attempt to connect (by a name of gRPC's that says something else), the pause between two, and the name that
 * certificates are checked for. */
static grpc_channel *new_grpc_channel(const struct env *env, const char *target,
                                      struct connection *connection) {
    grpc_channel_credentials *plain = env->tls ? NULL : grpc_insecure_credentials_create();
    enum { N_ARGS = sizeof args / sizeof args[0] };
    grpc_arg all[N_ARGS + 3];
    size_t n = N_ARGS;
    memcpy(all, args, sizeof args);
    all[n++] = (grpc_arg)ARG("grpc.min_reconnect_backoff_ms", connection_limit_ms(connection));
    all[n++] = (grpc_arg)ARG("grpc.max_reconnect_backoff_ms", connection_pause_ms(connection));
    if (env->tls && env->tls->server_name)
        all[n++] = (grpc_arg){.type = GRPC_ARG_STRING,
                              .key = (char *)"grpc.ssl_target_name_override",
                              .value.string = env->tls->server_name};
    grpc_channel *channel = grpc_channel_create(target, env->tls ? env->tls->credentials : plain,
                                                &(grpc_channel_args){.num_args = n, .args = all});
    if (plain)
        grpc_channel_credentials_release(plain);
    connection_renewed(connection);
    return channel;
}

static struct connection *new_connection(const char *address) {
    char host[HOST_BYTES];
    const char *port;
    bool has_host = split(address, host, &port);
    return connection_new(has_host ? host : NULL, has_host ? port : NULL);
}

static void channel_free(struct channel *channel) {
    if (channel->grpc)
        grpc_channel_destroy(channel->grpc);
    connection_unref(channel->connection);
    free(channel->base.address);
    free(channel->target);
    free(channel);
}

/* Calls and streams that are out hold the old one. */
static void replace(struct channel *channel) {
    const struct env *env = env_of(channel->base.rpc);
    if (channel->grpc)
        grpc_channel_destroy(channel->grpc);
    channel->grpc = new_grpc_channel(env, channel->target, channel->connection);
    channel->generation = env->tls ? env->tls->generation : 0;
    memset(channel->methods, 0, sizeof channel->methods);
}

int env_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                     struct lun_err *ret_err) {
    char target[TARGET_BYTES];
    int rc = target_of(address, target, ret_err);
    if (rc)
        return rc;
    struct channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    channel->base = (struct rpc_channel){.rpc = rpc, .address = strdup(address)};
    channel->target = strdup(target);
    channel->connection = new_connection(address);
    if (!channel->base.address || !channel->target || !channel->connection) {
        channel_free(channel);
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    replace(channel);
    *ret_channel = &channel->base;
    return 0;
}

void env_channel_close(struct rpc_channel *rpc_channel) {
    channel_free(CONTAINER_OF(rpc_channel, struct channel, base));
}

bool channel_is_connected(const struct channel *channel) {
    return grpc_channel_check_connectivity_state(channel->grpc, 0) == GRPC_CHANNEL_READY;
}

void channel_refresh(struct channel *channel) {
    const struct env *env = env_of(channel->base.rpc);
    if (env->tls)
        tls_look(env->tls, clock_boottime_ns(), false);
    bool has_old_certificates = env->tls && channel->generation != env->tls->generation;
    if (has_old_certificates ||
        (connection_is_outgrown(channel->connection) && !channel_is_connected(channel)))
        replace(channel);
}
