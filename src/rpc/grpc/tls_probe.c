/* rpc/grpc/tls_probe.c - finds out why a TLS handshake fails, with one of our own. See tls_probe.h.
 *
 * Resolve, connect, shake hands, then read: in TLS 1.3 a server judges our certificate only after our side of the handshake is done, and its
 * alert comes where the first bytes of HTTP/2 are expected. */
#include "rpc/grpc/tls_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/secret.h"

enum {
    SENTENCE_BYTES = 300,
    HOST_BYTES = 256,
    PORT_BYTES = 8,
    NAMES_BYTES = 160,
    STEP_MS = 2000,
    N_STEPS = 40
};

struct tls_probe {
    atomic_int n_users;
    atomic_bool is_done;
    bool is_unverified;
    char host[HOST_BYTES], port[PORT_BYTES];
    char *name; /* to be found in the server's certificate */
    char *cacert, *cert, *key, *cert_name;
    char sentence[SENTENCE_BYTES]; /* read when is_done */
};

__attribute__((format(printf, 2, 3))) static void say(struct tls_probe *probe, const char *format, ...) {
    if (probe->sentence[0] != '\0')
        return; /* the first reason is the reason */
    va_list args;
    va_start(args, format);
    (void)vsnprintf(probe->sentence, sizeof probe->sentence, format, args);
    va_end(args);
}

/* ---- connecting -------------------------------------------------------------------------------------- */

static bool wait_for(int fd, short events) {
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, STEP_MS) == 1;
}

static bool is_connected(int fd, const struct addrinfo *address) {
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return true;
    int error = errno;
    socklen_t n_bytes = sizeof error;
    return error == EINPROGRESS && wait_for(fd, POLLOUT) &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_bytes) == 0 && error == 0;
}

/* A socket, or -1: then the reason is not TLS, and gRPC has said it. */
static int open_socket(const struct tls_probe *probe) {
    struct addrinfo *addresses, hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(probe->host, probe->port, &hints, &addresses))
        return -1;
    int fd = -1;
    for (const struct addrinfo *address = addresses; address && fd < 0; address = address->ai_next) {
        fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && !is_connected(fd, address)) {
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(addresses);
    return fd;
}

/* ---- the server's certificate ------------------------------------------------------------------------ */

static void add_name(char names[NAMES_BYTES], const GENERAL_NAME *name) {
    char text[INET6_ADDRSTRLEN] = "";
    const char *shown = text;
    int len = 0;
    if (name->type == GEN_DNS) {
        shown = (const char *)ASN1_STRING_get0_data(name->d.dNSName);
        len = ASN1_STRING_length(name->d.dNSName);
    } else if (name->type == GEN_IPADD) {
        int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
        if (inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text))
            len = (int)strlen(text);
    }
    size_t used = strlen(names);
    if (len > 0)
        (void)snprintf(names + used, NAMES_BYTES - used, "%s%.*s", used ? ", " : "", len, shown);
}

static void names_of(X509 *certificate, char names[NAMES_BYTES]) {
    names[0] = '\0';
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++)
        add_name(names, sk_GENERAL_NAME_value(all, i));
    GENERAL_NAMES_free(all);
    if (names[0] == '\0')
        (void)snprintf(names, NAMES_BYTES, "no host at all");
}

static void say_date(struct tls_probe *probe, const char *what, const ASN1_TIME *at) {
    char day[PEM_DAY_BYTES];
    pem_day(at, day);
    say(probe, "the server's certificate %s %s", what, day);
}

static void say_untrusted(struct tls_probe *probe, X509 *certificate, int error) {
    char issuer[NAMES_BYTES] = "?";
    (void)X509_NAME_oneline(X509_get_issuer_name(certificate), issuer, sizeof issuer);
    say(probe, "the server's certificate is not trusted: %s (issued by %s); is it the right cacert?",
        X509_verify_cert_error_string(error), issuer);
}

static void say_certificate(struct tls_probe *probe, X509 *certificate, int error) {
    char names[NAMES_BYTES];
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        say_date(probe, "expired on", X509_get0_notAfter(certificate));
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        say_date(probe, "is valid only from", X509_get0_notBefore(certificate));
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        names_of(certificate, names);
        say(probe, "the server's certificate is not for %s but for %s; server_name names another",
            probe->name, names);
        break;
    default:
        say_untrusted(probe, certificate, error);
    }
}

static int on_verify(int is_ok, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_probe *probe = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (!is_ok && certificate)
        say_certificate(probe, certificate, X509_STORE_CTX_get_error(store));
    return is_ok;
}

/* ---- what we bring ----------------------------------------------------------------------------------- */

static void trust(SSL_CTX *context, const char *text) {
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    for (X509 *certificate; bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
        (void)X509_STORE_add_cert(store, certificate);
        X509_free(certificate);
    }
    BIO_free(bio);
}

static void show(SSL_CTX *context, const char *cert, const char *key) {
    BIO *bio = BIO_new_mem_buf(cert, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (certificate)
        (void)SSL_CTX_use_certificate(context, certificate);
    X509_free(certificate);
    while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (SSL_CTX_add_extra_chain_cert(context, certificate) != 1) /* takes it */
            X509_free(certificate);
    BIO_free(bio);
    bio = BIO_new_mem_buf(key, -1);
    EVP_PKEY *secret = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    if (secret)
        (void)SSL_CTX_use_PrivateKey(context, secret);
    EVP_PKEY_free(secret);
    BIO_free(bio);
}

static SSL_CTX *new_context(const struct tls_probe *probe) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return NULL;
    SSL_CTX_set_verify(context, probe->is_unverified ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       probe->is_unverified ? NULL : on_verify);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context),
                                X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST); /* as gRPC does */
    if (probe->cacert)
        trust(context, probe->cacert);
    else
        (void)SSL_CTX_set_default_verify_paths(context);
    if (probe->cert)
        show(context, probe->cert, probe->key);
    return context;
}

static SSL *new_session(struct tls_probe *probe, SSL_CTX *context, int fd) {
    static const unsigned char http2[] = "\2h2";
    unsigned char address[sizeof(struct in6_addr)];
    SSL *ssl = SSL_new(context);
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        return ssl;
    (void)SSL_set_app_data(ssl, probe);
    (void)SSL_set_alpn_protos(ssl, http2, sizeof http2 - 1);
    if (inet_pton(AF_INET, probe->name, address) == 1 || inet_pton(AF_INET6, probe->name, address) == 1) {
        (void)X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), probe->name);
    } else {
        (void)SSL_set1_host(ssl, probe->name);
        (void)SSL_set_tlsext_host_name(ssl, probe->name);
    }
    return ssl;
}

/* ---- the handshake ----------------------------------------------------------------------------------- */

static const char *openssl_reason(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "no reason given";
}

static void say_refused(struct tls_probe *probe) {
    if (probe->cert)
        say(probe, "the server refused our certificate %s: %s", probe->cert_name, openssl_reason());
    else
        say(probe, "the server refused us without a client certificate (%s): give cert and key",
            openssl_reason());
}

static bool was_alert(void) {
    return ERR_GET_REASON(ERR_peek_last_error()) >= SSL_AD_REASON_OFFSET;
}

static void say_handshake(struct tls_probe *probe, int error) {
    int reason = ERR_GET_REASON(ERR_peek_error());
    bool has_hung_up = error == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    if (has_hung_up || reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
        say(probe, "does not speak TLS on this port: http://?");
    else if (was_alert())
        say_refused(probe);
    else
        say(probe, "the TLS handshake failed: %s", openssl_reason());
}

/* Repeats what wants to wait; the last error of OpenSSL's, SSL_ERROR_NONE on success. */
static int drive(struct tls_probe *probe, SSL *ssl, int (*step)(SSL *ssl)) {
    for (int i = 0; i < N_STEPS; i++) {
        ERR_clear_error();
        int rc = step(ssl);
        int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, rc);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return error;
        if (!wait_for(SSL_get_fd(ssl), error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT))
            break;
    }
    say(probe, "accepts connections, but does not answer the TLS handshake within 2 s");
    return SSL_ERROR_WANT_READ;
}

static int read_one(SSL *ssl) {
    char byte;
    return SSL_read(ssl, &byte, 1);
}

static void shake_hands(struct tls_probe *probe, SSL *ssl) {
    int error = drive(probe, ssl, SSL_connect);
    if (error != SSL_ERROR_NONE) {
        say_handshake(probe, error);
        return;
    }
    if (!wait_for(SSL_get_fd(ssl), POLLIN))
        return;
    error = drive(probe, ssl, read_one);
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN)
        say_refused(probe);
}

static void look(struct tls_probe *probe) {
    int fd = open_socket(probe);
    if (fd < 0)
        return;
    SSL_CTX *context = new_context(probe);
    SSL *ssl = context ? new_session(probe, context, fd) : NULL;
    if (ssl)
        shake_hands(probe, ssl);
    SSL_free(ssl);
    SSL_CTX_free(context);
    (void)close(fd);
    ERR_clear_error();
}

/* ---- life -------------------------------------------------------------------------------------------- */

void tls_probe_free(struct tls_probe *probe) {
    if (!probe || atomic_fetch_sub(&probe->n_users, 1) > 1)
        return;
    free(probe->name);
    free(probe->cacert);
    free(probe->cert);
    free(probe->cert_name);
    secret_wipe(&probe->key);
    free(probe);
}

static void *run(void *arg) {
    struct tls_probe *probe = arg;
    look(probe);
    atomic_store(&probe->is_done, true);
    tls_probe_free(probe);
    return NULL;
}

static bool copy(char **ret, const char *text) {
    *ret = text ? strdup(text) : NULL;
    return !text || *ret;
}

static bool start(struct tls_probe *probe) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes))
        return false;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    atomic_store(&probe->n_users, 2);
    int rc = pthread_create(&thread, &attributes, run, probe);
    (void)pthread_attr_destroy(&attributes);
    if (rc)
        atomic_store(&probe->n_users, 1);
    return rc == 0;
}

struct tls_probe *tls_probe_start(const struct tls *tls, const char *host, const char *port) {
    struct tls_probe *probe = calloc(1, sizeof *probe);
    if (!probe)
        return NULL;
    atomic_store(&probe->n_users, 1);
    probe->is_unverified = tls->is_unverified;
    (void)snprintf(probe->host, sizeof probe->host, "%s", host);
    (void)snprintf(probe->port, sizeof probe->port, "%s", port);
    if (copy(&probe->name, tls->server_name ? tls->server_name : host) &&
        copy(&probe->cacert, tls->cacert.text) && copy(&probe->cert, tls->cert.text) &&
        copy(&probe->key, tls->key.text) &&
        copy(&probe->cert_name, tls->cert.path ? tls->cert.path : "(given as text)") && start(probe))
        return probe;
    tls_probe_free(probe);
    return NULL;
}

bool tls_probe_result(struct tls_probe *probe, char *ret_text, size_t n_bytes) {
    if (!atomic_load(&probe->is_done) || probe->sentence[0] == '\0')
        return false;
    (void)snprintf(ret_text, n_bytes, "TLS: %s", probe->sentence);
    return true;
}
