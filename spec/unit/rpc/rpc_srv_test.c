/* spec/unit/rpc/rpc_srv_test.c - SRV records from a DNS server that the test plays. */
#include "rpc/grpc/srv.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

struct record {
    uint16_t priority, weight, port;
    const char *host; /* "" is the root */
};

struct server {
    int fd;
    struct sockaddr_in address;
    int rcode; /* below 0: says nothing */
    const struct record *records;
    size_t n;
    bool is_garbled;
    char question[256];
    pthread_t thread;
};

static size_t put16(unsigned char *at, unsigned value) {
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
    return 2;
}

static size_t put_name(unsigned char *at, const char *name) {
    size_t n = 0;
    while (*name) {
        size_t len = strcspn(name, ".");
        at[n++] = (unsigned char)len;
        memcpy(at + n, name, len);
        n += len;
        name += len + (name[len] == '.');
    }
    at[n++] = 0;
    return n;
}

/* Its header and its question are the query's. */
static size_t answer(struct server *server, unsigned char *packet, size_t n_query) {
    size_t n = n_query;
    packet[2] |= 0x80;
    packet[3] = (unsigned char)(0x80 | server->rcode);
    (void)put16(packet + 6, (unsigned)server->n);
    (void)put16(packet + 8, 0);
    (void)put16(packet + 10, 0);
    for (size_t i = 0; i < server->n; i++) {
        const struct record *record = &server->records[i];
        unsigned char name[256];
        size_t n_name = put_name(name, record->host);
        n += put16(packet + n, 0xc00c);
        n += put16(packet + n, 33);
        n += put16(packet + n, 1);
        n += put16(packet + n, 0);
        n += put16(packet + n, 60);
        n += put16(packet + n, (unsigned)(6 + n_name));
        n += put16(packet + n, record->priority);
        n += put16(packet + n, record->weight);
        n += put16(packet + n, record->port);
        memcpy(packet + n, name, n_name);
        n += n_name;
    }
    return server->is_garbled ? n - 3 : n;
}

static void read_question(const unsigned char *packet, char *text) {
    size_t n = 0;
    for (const unsigned char *at = packet + 12; *at; at += *at + 1)
        n += (size_t)sprintf(text + n, "%s%.*s", n ? "." : "", (int)*at, (const char *)at + 1);
}

static void *serve(void *arg) {
    struct server *server = arg;
    unsigned char packet[8192];
    for (;;) {
        struct sockaddr_in from;
        socklen_t n_from = sizeof from;
        ssize_t n = recvfrom(server->fd, packet, 512, 0, (struct sockaddr *)&from, &n_from);
        if (n < 12)
            return NULL;
        /* Only the question stays: the resolver may add a record of its own. */
        size_t n_question = 12;
        while (packet[n_question])
            n_question += packet[n_question] + 1U;
        n_question += 5;
        read_question(packet, server->question);
        if (server->rcode >= 0)
            (void)sendto(server->fd, packet, answer(server, packet, n_question), 0, (struct sockaddr *)&from,
                         n_from);
    }
}

static void start(struct server *server) {
    socklen_t n = sizeof server->address;
    server->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    REQUIRE(bind(server->fd, (struct sockaddr *)&server->address, n) == 0);
    REQUIRE(getsockname(server->fd, (struct sockaddr *)&server->address, &n) == 0);
    REQUIRE(pthread_create(&server->thread, NULL, serve, server) == 0);
}

static void stop(struct server *server) {
    (void)sendto(server->fd, "", 0, 0, (struct sockaddr *)&server->address, sizeof server->address);
    (void)pthread_join(server->thread, NULL);
    (void)close(server->fd);
}

static struct rpc_lookup ask(struct server *server) {
    struct rpc_lookup lookup = {0};
    start(server);
    srv_query(&server->address, "_etcd-client._tcp.example.com", &lookup);
    stop(server);
    CHECK_TEXT(server->question, "_etcd-client._tcp.example.com");
    return lookup;
}

static void records_come_by_priority(void) {
    static const struct record records[] = {{20, 0, 3, "c.example.com"},
                                            {10, 5, 1, "a.example.com"},
                                            {10, 5, 2, "b.example.com"},
                                            {0, 0, 9, ""},
                                            {5, 0, 0, "no-port.example.com"}};
    bool was_a_first = false, was_b_first = false;
    for (int i = 0; i < 100 && !(was_a_first && was_b_first); i++) {
        struct server server = {.records = records, .n = 5};
        struct rpc_lookup lookup = ask(&server);
        REQUIRE(lookup.n == 3 && lookup.error[0] == '\0');
        CHECK_TEXT(lookup.records[2].host, "c.example.com");
        CHECK(lookup.records[2].port == 3 && lookup.records[2].priority == 20);
        was_a_first |= lookup.records[0].port == 1;
        was_b_first |= lookup.records[0].port == 2;
    }
    CHECK(was_a_first && was_b_first);
}

static void of_many_the_lowest_priorities_are_kept(void) {
    struct record records[20];
    for (int i = 0; i < 20; i++)
        records[i] = (struct record){(uint16_t)(20 - i), 0, (uint16_t)(100 + i), "a.example.com"};
    struct server server = {.records = records, .n = 20};
    struct rpc_lookup lookup = ask(&server);
    CHECK(lookup.n == RPC_SRV_MOST && lookup.records[0].port == 119 && lookup.records[14].port == 105);
}

static void what_dns_says_instead_is_told(void) {
    static const struct {
        int rcode;
        const char *text;
        bool is_missing;
    } rows[] = {{3, "DNS has no such SRV record", true},
                {0, "DNS has no such SRV record", true},
                {2, "no DNS server has answered the question for its SRV record", false},
                {-1, "no DNS server has answered the question for its SRV record", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct server server = {.rcode = rows[i].rcode};
        struct rpc_lookup lookup = ask(&server);
        CHECK_TEXT(lookup.error, rows[i].text);
        CHECK(lookup.is_missing == rows[i].is_missing && lookup.n == 0);
    }
}

static void an_answer_that_is_cut_off_is_refused(void) {
    static const struct record records[] = {{1, 0, 3, "c.example.com"}};
    struct server server = {.records = records, .n = 1, .is_garbled = true};
    struct rpc_lookup lookup = ask(&server);
    CHECK(lookup.n == 0 && lookup.error[0] != '\0');
}

static void a_lookup_may_be_given_up(void) {
    struct rpc_lookup *lookup = NULL;
    REQUIRE(srv_lookup_start(NULL, "_etcd-client._tcp.lunarch.invalid", &lookup) == 0);
    rpc_lookup_free(lookup);
    rpc_lookup_free(NULL);
}

int main(void) {
    RUN(records_come_by_priority);
    RUN(of_many_the_lowest_priorities_are_kept);
    RUN(what_dns_says_instead_is_told);
    RUN(an_answer_that_is_cut_off_is_refused);
    RUN(a_lookup_may_be_given_up);
    return check_end();
}
