/* etcd/endpoint.c - reads addresses of etcd as people write them, and writes them in full. See endpoint.h. */
#include "etcd/endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char how_written[] =
    "an endpoint is host:port, as in 127.0.0.1:2379 or [::1]:2379, with http:// or "
    "https:// before it, or unix:///path, or srv://domain";

/* As much of one as a message quotes. */
enum { QUOTED_BYTES = 80 };
/* What fits into the address of a unix socket, without its zero byte. */
enum { SOCKET_PATH_BYTES = 107 };
enum { HOST_BYTES = 254 };
/* What is put before it makes no name longer than DNS allows. */
enum { SRV_BYTES = 220 };

/* A run of the text given: not terminated. */
struct part {
    const char *from;
    size_t len;
};

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct part trim(struct part part) {
    while (part.len > 0 && is_blank(part.from[0])) {
        part.from++;
        part.len--;
    }
    while (part.len > 0 && is_blank(part.from[part.len - 1]))
        part.len--;
    return part;
}

static bool skip(struct part *part, const char *word) {
    size_t len = strlen(word);
    if (part->len < len || strncasecmp(part->from, word, len) != 0)
        return false;
    part->from += len;
    part->len -= len;
    return true;
}

static bool consists_of(struct part part, const char *allowed) {
    for (size_t i = 0; i < part.len; i++)
        if (part.from[i] == '\0' || !strchr(allowed, part.from[i]))
            return false;
    return true;
}

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* The endpoint as a message shows it: never what stands before an "@", which may be a password, and may have a comma
 * in it. `whole` lies in a text that is terminated. */
static int refuse(struct part whole, const char *why, struct lun_err *ret_err) {
    const char *at = memrchr(whole.from, '@', whole.len);
    bool is_unix = whole.len >= 5 && strncasecmp(whole.from, "unix:", 5) == 0;
    const char *dots = "";
    if (!is_unix && strchr(whole.from + whole.len, '@'))
        at = whole.from + whole.len; /* nothing of it is shown */
    if (at && !is_unix) {
        whole.len -= (size_t)(at - whole.from);
        whole.from = at;
        dots = "...";
    }
    bool is_cut = whole.len > QUOTED_BYTES;
    return lun_err_set(ret_err, LUN_EINVALID, "endpoint \"%s%.*s%s\": %s; %s", dots,
                       (int)(is_cut ? QUOTED_BYTES : whole.len), whole.from, is_cut ? "..." : "", why,
                       how_written);
}

/* ---- one endpoint ------------------------------------------------------------------------------------ */

/* Etcd and its clients in Go write paths that end in ":0" where this is part of the name. */
static const char *parse_unix(struct part path, struct endpoint *endpoint) {
    endpoint->scheme = ENDPOINT_UNIX;
    (void)skip(&path, "//");
    if (path.len < 2 || path.from[0] != '/')
        return "the path of a unix socket begins with /";
    if (path.len > SOCKET_PATH_BYTES)
        return "the path of a unix socket has at most 107 bytes";
    if (!consists_of(path, LETTERS_AND_DIGITS "/.:_-+@"))
        return "this character cannot be used in the path of a socket here";
    (void)snprintf(endpoint->address, sizeof endpoint->address, "unix:%.*s", (int)path.len, path.from);
    return NULL;
}

/* A domain, and the name of the service where there are several. */
static const char *parse_srv(struct part rest, struct endpoint *endpoint) {
    const char *slash = memchr(rest.from, '/', rest.len);
    struct part domain = {rest.from, slash ? (size_t)(slash - rest.from) : rest.len};
    struct part name = {slash ? slash + 1 : "", slash ? rest.len - domain.len - 1 : 0};
    endpoint->scheme = ENDPOINT_SRV;
    if (domain.len > 0 && domain.from[domain.len - 1] == '.')
        domain.len--;
    if (domain.len == 0 || domain.len + name.len > SRV_BYTES ||
        !consists_of(domain, LETTERS_AND_DIGITS ".-_") || !consists_of(name, LETTERS_AND_DIGITS "-_"))
        return "no domain is written like this";
    (void)snprintf(endpoint->address, sizeof endpoint->address, "srv://%.*s%s%.*s", (int)domain.len,
                   domain.from, name.len > 0 ? "/" : "", (int)name.len, name.from);
    return NULL;
}

/* 0: it is none. */
static unsigned parse_port(struct part text) {
    unsigned port = 0;
    if (text.len < 1 || text.len > 5 || !consists_of(text, "0123456789"))
        return 0;
    for (size_t i = 0; i < text.len; i++)
        port = port * 10 + (unsigned)(text.from[i] - '0');
    return port <= 65535 ? port : 0;
}

/* The shortest form: the name in a certificate is compared as text. A zone ("%eth0") stays as it is. */
static const char *parse_ipv6(struct part host, unsigned port, struct endpoint *endpoint) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *percent = memchr(host.from, '%', host.len);
    size_t len = percent ? (size_t)(percent - host.from) : host.len;
    struct part zone = {percent, host.len - len};
    if (len >= sizeof text || !consists_of(zone, LETTERS_AND_DIGITS "%.-_") || zone.len == 1 || zone.len > 32)
        return "no IPv6 address is written like this";
    memcpy(text, host.from, len);
    text[len] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1)
        return "no IPv6 address is written like this";
    (void)inet_ntop(AF_INET6, &address, text, sizeof text);
    (void)snprintf(endpoint->address, sizeof endpoint->address, "[%s%.*s]:%u", text, (int)zone.len,
                   zone.from ? zone.from : "", port);
    return NULL;
}

static const char *parse_host(struct part rest, struct endpoint *endpoint) {
    if (memchr(rest.from, '@', rest.len))
        return "a user and a password are options of their own";
    if (rest.len > 0 && rest.from[rest.len - 1] == '/')
        rest.len--;
    if (memchr(rest.from, '/', rest.len))
        return "nothing may follow the port";
    const char *colon = memrchr(rest.from, ':', rest.len);
    bool is_bracketed = rest.len > 0 && rest.from[0] == '[';
    if (!colon || (is_bracketed && rest.from[rest.len - 1] == ']'))
        return "the port is missing";
    struct part host = {rest.from, (size_t)(colon - rest.from)};
    struct part port_text = {colon + 1, rest.len - host.len - 1};
    unsigned port = parse_port(port_text);
    if (!is_bracketed && memchr(host.from, ':', host.len))
        return "an IPv6 address is written in brackets";
    if (port == 0)
        return "the port is a number from 1 to 65535";
    if (is_bracketed && host.from[host.len - 1] == ']')
        return parse_ipv6((struct part){host.from + 1, host.len - 2}, port, endpoint);
    if (host.len == 0)
        return "the host is missing";
    if (host.len >= HOST_BYTES || !consists_of(host, LETTERS_AND_DIGITS ".-_"))
        return "no host is written like this";
    (void)snprintf(endpoint->address, sizeof endpoint->address, "%.*s:%u", (int)host.len, host.from, port);
    return NULL;
}

/* What is often written instead of one, and would be refused for what follows from it. */
static const char *find_slip(struct part rest) {
    struct part after = rest;
    bool has_scheme = skip(&after, "http:") || skip(&after, "https:");
    if (has_scheme && parse_port(after) == 0 && !skip(&after, "//")) /* a host may be called "http" */
        return "two slashes follow http: and https:";
    bool is_alone = skip(&after, "unix:") || skip(&after, "srv:");
    for (size_t i = 0; i < rest.len && !is_alone; i++)
        if (is_blank(rest.from[i]) || rest.from[i] == ';')
            return "several are separated by commas";
    return NULL;
}

/* NULL, or what is wrong. */
static const char *parse_one(struct part rest, struct endpoint *endpoint) {
    endpoint->scheme = ENDPOINT_BARE;
    const char *slip = find_slip(rest);
    if (slip)
        return slip;
    if (skip(&rest, "unix:"))
        return parse_unix(rest, endpoint);
    if (skip(&rest, "srv://"))
        return parse_srv(rest, endpoint);
    if (skip(&rest, "https://"))
        endpoint->scheme = ENDPOINT_HTTPS;
    else if (skip(&rest, "http://"))
        endpoint->scheme = ENDPOINT_HTTP;
    else if (memmem(rest.from, rest.len, "://", 3))
        return "etcd is not reached by this scheme";
    return parse_host(rest, endpoint);
}

bool endpoint_parse(const char *text, struct endpoint *ret) {
    return parse_one(trim((struct part){text, strlen(text)}), ret) == NULL;
}

/* ---- lists ------------------------------------------------------------------------------------------- */

static struct endpoint *find(struct endpoints *endpoints, const char *address) {
    for (size_t i = 0; i < endpoints->n; i++)
        if (strcasecmp(endpoints->items[i].address, address) == 0)
            return &endpoints->items[i];
    return NULL;
}

static int add(struct endpoints *endpoints, struct part whole, struct lun_err *ret_err) {
    struct endpoint endpoint;
    const char *wrong = parse_one(whole, &endpoint);
    if (wrong)
        return refuse(whole, wrong, ret_err);
    struct endpoint *known = find(endpoints, endpoint.address);
    if (known) {
        if (known->scheme == ENDPOINT_BARE)
            known->scheme = endpoint.scheme;
        if (endpoint.scheme == ENDPOINT_BARE || endpoint.scheme == known->scheme)
            return 0;
        return lun_err_set(ret_err, LUN_EINVALID,
                           "endpoint %s is given with http:// and with https://: which is it?",
                           endpoint.address);
    }
    if (endpoints->n == ENDPOINT_MAX)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "endpoints: more than %d of them; some of the members are enough", ENDPOINT_MAX);
    endpoints->items[endpoints->n++] = endpoint;
    return 0;
}

/* Empty places between commas are passed over. */
static int add_all(struct endpoints *endpoints, const char *text, struct lun_err *ret_err) {
    for (const char *from = text;; from++) {
        size_t len = strcspn(from, ",");
        struct part part = trim((struct part){from, len});
        int rc = part.len > 0 ? add(endpoints, part, ret_err) : 0;
        from += len;
        if (rc || *from == '\0')
            return rc;
    }
}

static const struct endpoint *first_with(const struct endpoints *endpoints, enum endpoint_scheme scheme) {
    for (size_t i = 0; i < endpoints->n; i++)
        if (endpoints->items[i].scheme == scheme)
            return &endpoints->items[i];
    return NULL;
}

int endpoints_parse(const char *const *texts, size_t n, struct endpoints *ret, struct lun_err *ret_err) {
    struct endpoints endpoints = {0};
    for (size_t i = 0; i < n; i++) {
        int rc = add_all(&endpoints, texts[i], ret_err);
        if (rc)
            return rc;
    }
    if (endpoints.n == 0)
        return lun_err_set(ret_err, LUN_EINVALID, "endpoints \"%.*s\": no endpoint in it; %s", QUOTED_BYTES,
                           n > 0 ? texts[0] : "", how_written);
    const struct endpoint *srv = first_with(&endpoints, ENDPOINT_SRV);
    if (srv && endpoints.n > 1)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "endpoint %s: where DNS names the members, no other endpoint can be given",
                           srv->address);
    *ret = endpoints;
    return 0;
}

/* ---- whose address it is ------------------------------------------------------------------------------ */

/* In host order. Short forms too ("127.1", "0"): resolvers take them. */
static enum endpoint_place place_of_ipv4(uint32_t address) {
    if (address == INADDR_ANY)
        return ENDPOINT_NOWHERE;
    return address >> 24 == 127 ? ENDPOINT_LOCAL : ENDPOINT_REMOTE;
}

static enum endpoint_place place_of_ipv6(const struct in6_addr *address) {
    uint32_t low;
    memcpy(&low, &address->s6_addr[12], sizeof low);
    if (IN6_IS_ADDR_UNSPECIFIED(address))
        return ENDPOINT_NOWHERE;
    if (IN6_IS_ADDR_LOOPBACK(address))
        return ENDPOINT_LOCAL;
    return IN6_IS_ADDR_V4MAPPED(address) ? place_of_ipv4(ntohl(low)) : ENDPOINT_REMOTE;
}

static bool is_localhost(const char *host) {
    static const char name[] = "localhost";
    size_t len = strlen(host), n = sizeof name - 1;
    len -= len > 0 && host[len - 1] == '.';
    if (len < n || strncasecmp(host + len - n, name, n) != 0)
        return false;
    return len == n || host[len - n - 1] == '.';
}

enum endpoint_place endpoint_place(const struct endpoint *endpoint) {
    char host[ENDPOINT_ADDRESS_BYTES];
    struct in_addr ipv4;
    struct in6_addr ipv6;
    if (endpoint->scheme == ENDPOINT_UNIX || endpoint->scheme == ENDPOINT_SRV)
        return endpoint->scheme == ENDPOINT_UNIX ? ENDPOINT_LOCAL : ENDPOINT_REMOTE;
    bool is_bracketed = endpoint->address[0] == '[';
    const char *from = endpoint->address + is_bracketed;
    const char *to = is_bracketed ? from + strcspn(from, "]%") : strrchr(from, ':');
    (void)snprintf(host, sizeof host, "%.*s", (int)(to - from), from);
    if (is_bracketed)
        return inet_pton(AF_INET6, host, &ipv6) == 1 ? place_of_ipv6(&ipv6) : ENDPOINT_NOWHERE;
    if (inet_aton(host, &ipv4))
        return place_of_ipv4(ntohl(ipv4.s_addr));
    return is_localhost(host) ? ENDPOINT_LOCAL : ENDPOINT_REMOTE;
}

/* ---- schemes ----------------------------------------------------------------------------------------- */

void endpoint_write(const struct endpoint *endpoint, char *text, size_t n_bytes) {
    static const char *const schemes[] = {[ENDPOINT_BARE] = "",
                                          [ENDPOINT_HTTP] = "http://",
                                          [ENDPOINT_HTTPS] = "https://",
                                          [ENDPOINT_UNIX] = "unix://",
                                          [ENDPOINT_SRV] = ""};
    size_t n_skipped = endpoint->scheme == ENDPOINT_UNIX ? strlen("unix:") : 0;
    (void)snprintf(text, n_bytes, "%s%s", schemes[endpoint->scheme], endpoint->address + n_skipped);
}

int endpoints_want_tls(const struct endpoints *endpoints, bool has_options, bool *ret_is_tls,
                       struct lun_err *ret_err) {
    const struct endpoint *secure = first_with(endpoints, ENDPOINT_HTTPS);
    const struct endpoint *plain = first_with(endpoints, ENDPOINT_HTTP);
    const struct endpoint *local = first_with(endpoints, ENDPOINT_UNIX);
    const char *scheme = plain ? "http://" : "", *address = plain   ? plain->address
                                                            : local ? local->address
                                                                    : NULL;
    *ret_is_tls = secure || has_options;
    if (!*ret_is_tls || !address)
        return 0;
    if (!secure)
        return lun_err_set(
            ret_err, LUN_EINVALID,
            "endpoint %s%s is plaintext, but TLS options are set: write https://, or leave them out", scheme,
            address);
    return lun_err_set(
        ret_err, LUN_EINVALID,
        "endpoints %s%s and https://%s: one is plaintext and one is TLS: use %s for all members or "
        "https:// for all",
        scheme, address, secure->address, plain ? "http://" : "unix:");
}
