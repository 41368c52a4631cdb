/* rpc/grpc/tls_handshake.c - finds out why a TLS handshake fails, with one of our own. See tls_handshake.h.
 *
 * Shake hands, then read: in TLS 1.3 a server judges our certificate only after our side of the handshake is done, and its alert comes where the
 * first bytes of HTTP/2 are expected. */
#include "rpc/grpc/tls_handshake.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "rpc/grpc/pem.h"

enum { NAMES_BYTES = 160, N_STEPS = 40 };

__attribute__((format(printf, 2, 3))) static void say(struct tls_handshake *handshake, const char *format,
                                                      ...) {
    if (handshake->sentence[0] != '\0')
        return; /* the first reason is the reason */
    va_list args;
    va_start(args, format);
    (void)vsnprintf(handshake->sentence, sizeof handshake->sentence, format, args);
    va_end(args);
}

static bool wait_for(int fd, short events) {
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, HANDSHAKE_STEP_MS) == 1;
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

static void say_date(struct tls_handshake *handshake, const char *what, const ASN1_TIME *at) {
    char day[PEM_DAY_BYTES];
    pem_day(at, day);
    say(handshake, "the server's certificate %s %s", what, day);
}

static void say_untrusted(struct tls_handshake *handshake, X509 *certificate, int error) {
    char issuer[NAMES_BYTES] = "?";
    (void)X509_NAME_oneline(X509_get_issuer_name(certificate), issuer, sizeof issuer);
    say(handshake, "the server's certificate is not trusted: %s (issued by %s); %s",
        X509_verify_cert_error_string(error), issuer,
        handshake->cacert ? "is it the right cacert?" : "give cacert, for the system does not know it");
}

static void say_certificate(struct tls_handshake *handshake, X509 *certificate, int error) {
    char names[NAMES_BYTES];
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        say_date(handshake, "expired on", X509_get0_notAfter(certificate));
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        say_date(handshake, "is valid only from", X509_get0_notBefore(certificate));
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        names_of(certificate, names);
        say(handshake, "the server's certificate is not for %s but for %s; server_name names another",
            handshake->name, names);
        break;
    default:
        say_untrusted(handshake, certificate, error);
    }
}

static int on_verify(int is_ok, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_handshake *handshake = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (!is_ok && certificate)
        say_certificate(handshake, certificate, X509_STORE_CTX_get_error(store));
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

static SSL_CTX *new_context(const struct tls_handshake *handshake) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return NULL;
    SSL_CTX_set_verify(context, handshake->is_unverified ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       handshake->is_unverified ? NULL : on_verify);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context),
                                X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST); /* as gRPC does */
    if (handshake->cacert)
        trust(context, handshake->cacert);
    else
        (void)SSL_CTX_set_default_verify_paths(context);
    if (handshake->cert)
        show(context, handshake->cert, handshake->key);
    return context;
}

static SSL *new_session(struct tls_handshake *handshake, SSL_CTX *context, int fd) {
    static const unsigned char http2[] = "\2h2";
    unsigned char address[sizeof(struct in6_addr)];
    SSL *ssl = SSL_new(context);
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        return ssl;
    (void)SSL_set_app_data(ssl, handshake);
    (void)SSL_set_alpn_protos(ssl, http2, sizeof http2 - 1);
    if (inet_pton(AF_INET, handshake->name, address) == 1 ||
        inet_pton(AF_INET6, handshake->name, address) == 1) {
        (void)X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), handshake->name);
    } else {
        (void)SSL_set1_host(ssl, handshake->name);
        (void)SSL_set_tlsext_host_name(ssl, handshake->name);
    }
    return ssl;
}

/* ---- the handshake ----------------------------------------------------------------------------------- */

static const char *openssl_reason(void) {
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "no reason given";
}

static void say_refused(struct tls_handshake *handshake) {
    if (handshake->cert)
        say(handshake, "the server refused our certificate %s: %s", handshake->cert_name, openssl_reason());
    else
        say(handshake, "the server refused us without a client certificate (%s): give cert and key",
            openssl_reason());
}

static bool was_alert(void) {
    return ERR_GET_REASON(ERR_peek_last_error()) >= SSL_AD_REASON_OFFSET;
}

static void say_handshake(struct tls_handshake *handshake, int error) {
    int reason = ERR_GET_REASON(ERR_peek_error());
    bool has_hung_up = error == SSL_ERROR_SYSCALL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    if (has_hung_up || reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
        say(handshake, "does not speak TLS on this port: http://?");
    else if (was_alert())
        say_refused(handshake);
    else
        say(handshake, "the TLS handshake failed: %s", openssl_reason());
}

/* Repeats what wants to wait; the last error of OpenSSL's, SSL_ERROR_NONE on success. */
static int drive(struct tls_handshake *handshake, SSL *ssl, int (*step)(SSL *ssl)) {
    for (int i = 0; i < N_STEPS; i++) {
        ERR_clear_error();
        int rc = step(ssl);
        int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, rc);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return error;
        if (!wait_for(SSL_get_fd(ssl), error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT))
            break;
    }
    say(handshake, "accepts connections, but does not answer the TLS handshake within 2 s");
    return SSL_ERROR_WANT_READ;
}

static int read_one(SSL *ssl) {
    char byte;
    return SSL_read(ssl, &byte, 1);
}

static void shake_hands(struct tls_handshake *handshake, SSL *ssl) {
    int error = drive(handshake, ssl, SSL_connect);
    if (error != SSL_ERROR_NONE) {
        say_handshake(handshake, error);
        return;
    }
    if (!wait_for(SSL_get_fd(ssl), POLLIN))
        return;
    error = drive(handshake, ssl, read_one);
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN)
        say_refused(handshake);
}

void tls_handshake_try(struct tls_handshake *handshake, int fd) {
    SSL_CTX *context = new_context(handshake);
    SSL *ssl = context ? new_session(handshake, context, fd) : NULL;
    if (ssl)
        shake_hands(handshake, ssl);
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
}

/* A port that answers with an alert speaks TLS too. */
bool tls_is_spoken(int fd) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = context ? SSL_new(context) : NULL;
    struct tls_handshake nobody = {0};
    bool is_spoken = false;
    if (ssl && SSL_set_fd(ssl, fd) == 1) {
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        is_spoken = drive(&nobody, ssl, SSL_connect) == SSL_ERROR_NONE || was_alert();
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    return is_spoken;
}
