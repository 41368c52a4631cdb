/* etcd/endpoint.h - addresses of etcd as people write them: the only place that knows schemes, ports and commas.
 *
 *     10.0.0.1:2379   etcd-1.example:2379   [::1]:2379      TLS where the client's options or another endpoint say so
 *     http://HOST:PORT                                      plaintext
 *     https://HOST:PORT                                     TLS
 *     unix:///path   unix:/path                             a socket of this machine, plaintext
 *     srv://DOMAIN   srv://DOMAIN/NAME                      those that DNS names, alone in its list (etcd/discovery.c)
 *
 * Schemes in any case; blanks around and one "/" behind are ignored; a text may hold several, separated by commas. */
#ifndef LUN_ETCD_ENDPOINT_H
#define LUN_ETCD_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum endpoint_scheme { ENDPOINT_BARE, ENDPOINT_HTTP, ENDPOINT_HTTPS, ENDPOINT_UNIX, ENDPOINT_SRV };

enum { ENDPOINT_ADDRESS_BYTES = 272, ENDPOINT_MAX = 16 };

struct endpoint {
    enum endpoint_scheme scheme;
    /* "host:port", "[IPv6]:port" in its shortest form, "unix:/path", or "srv://domain/name": what rpc_channel_open takes. */
    char address[ENDPOINT_ADDRESS_BYTES];
};

struct endpoints {
    size_t n;
    struct endpoint items[ENDPOINT_MAX]; /* in the order given, each address once */
};

/* Parses `n` texts. Any thread. 0, or LUN_EINVALID: the first that is wrong, quoted (without a password that it may
 * hold), and why; none at all; more than ENDPOINT_MAX. `ret` is set only on success. */
int endpoints_parse(const char *const *texts, size_t n, struct endpoints *ret, struct lun_err *ret_err);

/* One alone. False: it is none, or several. */
bool endpoint_parse(const char *text, struct endpoint *ret);

/* Written in full: scheme, if one was given, and address; at most ENDPOINT_ADDRESS_BYTES + 8 with the zero byte. */
void endpoint_write(const struct endpoint *endpoint, char *text, size_t n_bytes);

/* Whose address it is, as far as the text tells: of no host at all (0.0.0.0, [::]), of this machine, of another or of any
 * (names other than "localhost" are not resolved). */
enum endpoint_place { ENDPOINT_NOWHERE, ENDPOINT_LOCAL, ENDPOINT_REMOTE };
enum endpoint_place endpoint_place(const struct endpoint *endpoint);

/* Whether TLS is to be spoken. `has_options`: the client has options of TLS. Etcd's own tools take http:// with a cacert
 * for plaintext, silently; here that is an error, and so are schemes that contradict each other. 0 or LUN_EINVALID. */
int endpoints_want_tls(const struct endpoints *endpoints, bool has_options, bool *ret_is_tls,
                       struct lun_err *ret_err);

#endif
