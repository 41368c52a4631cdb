/* rpc/grpc/tls.c - makes gRPC's credentials from files, anew when these are replaced. See tls.h.
 *
 * gRPC's own watcher of files puts half a pair (the new certificate, the old key) in place of a good one, and then every handshake fails. So
 * the files are looked at here, and only what passes every check is used. Open connections keep the credentials they began with. */
#include "rpc/grpc/tls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/grpc/env.h"

#define LOOK_NS (10 * NS_PER_S)
#define LOOK_URGENT_NS NS_PER_S
#define SYSTEM_ROOTS "/etc/ssl/certs/ca-certificates.crt"

struct files {
    struct pem cacert, cert, key;
};

static void files_fini(struct files *files) {
    pem_fini(&files->cacert);
    pem_fini(&files->cert);
    pem_fini(&files->key);
}

static int files_load(struct files *files, const char *cacert, const char *cert, const char *key,
                      struct lun_err *ret_err) {
    *files = (struct files){.cacert.option = "cacert"};
    int rc = pem_load(&files->cacert, "cacert", cacert, ret_err);
    if (!rc)
        rc = pem_load(&files->cert, "cert", cert, ret_err);
    if (!rc)
        rc = pem_load(&files->key, "key", key, ret_err);
    if (!rc)
        rc = pem_check(&files->cacert, &files->cert, &files->key, ret_err);
    if (rc)
        files_fini(files);
    return rc;
}

/* Without a cacert gRPC takes the system's, and says nothing useful when there are none. */
static int check_roots(const struct files *files, bool is_unverified, struct lun_err *ret_err) {
    const char *roots = getenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH");
    if (files->cacert.text || is_unverified || access(roots ? roots : SYSTEM_ROOTS, R_OK) == 0)
        return 0;
    return lun_err_set(ret_err, LUN_EINVALID,
                       "TLS without cacert, and this system trusts no authority (" SYSTEM_ROOTS
                       " cannot be read): give cacert, or install the package ca-certificates");
}

/* ---- credentials ------------------------------------------------------------------------------------- */

static grpc_channel_credentials *verified(const struct files *files) {
    grpc_ssl_pem_key_cert_pair pair = {.private_key = files->key.text, .cert_chain = files->cert.text};
    return grpc_ssl_credentials_create_ex(files->cacert.text, files->cert.text ? &pair : NULL, NULL, NULL);
}

/* gRPC's older interface always verifies; only its newer one can be told not to. */
static grpc_channel_credentials *unverified(const struct files *files) {
    grpc_tls_credentials_options *options = grpc_tls_credentials_options_create();
    if (files->cert.text) {
        grpc_tls_identity_pairs *pairs = grpc_tls_identity_pairs_create();
        grpc_tls_identity_pairs_add_pair(pairs, files->key.text, files->cert.text);
        grpc_tls_certificate_provider *provider =
            grpc_tls_certificate_provider_static_data_create(NULL, pairs); /* takes pairs */
        grpc_tls_credentials_options_set_certificate_provider(options, provider);
        grpc_tls_credentials_options_watch_identity_key_cert_pairs(options);
        grpc_tls_certificate_provider_release(provider);
    }
    grpc_tls_certificate_verifier *verifier = grpc_tls_certificate_verifier_no_op_create();
    grpc_tls_credentials_options_set_certificate_verifier(options, verifier);
    grpc_tls_certificate_verifier_release(verifier);
    grpc_tls_credentials_options_set_verify_server_cert(options, 0);
    grpc_tls_credentials_options_set_check_call_host(options, 0);
    return grpc_tls_credentials_create(options);
}

/* Takes the files over when gRPC takes them. */
static bool adopt(struct tls *tls, struct files *files) {
    grpc_channel_credentials *credentials = tls->is_unverified ? unverified(files) : verified(files);
    if (!credentials)
        return false;
    if (tls->credentials)
        grpc_channel_credentials_release(tls->credentials);
    tls->credentials = credentials;
    tls->generation++;
    struct files old = {tls->cacert, tls->cert, tls->key};
    files_fini(&old);
    tls->cacert = files->cacert;
    tls->cert = files->cert;
    tls->key = files->key;
    return true;
}

/* ---- life -------------------------------------------------------------------------------------------- */

int tls_new(const struct rpc_tls *config, struct tls **ret_tls, struct lun_err *ret_err) {
    struct files files;
    library_begin_openssl();
    int rc = files_load(&files, config->cacert, config->cert, config->key, ret_err);
    if (rc)
        return rc;
    rc = check_roots(&files, config->is_unverified, ret_err);
    struct tls *tls = rc ? NULL : calloc(1, sizeof *tls);
    bool is_named =
        config->server_name && config->server_name[0] != '\0'; /* an empty one would break the handshake */
    if (!tls || (is_named && !(tls->server_name = strdup(config->server_name))))
        goto failed;
    tls->is_unverified = config->is_unverified;
    if (!adopt(tls, &files)) {
        rc = lun_err_set(ret_err, LUN_EINVALID, "gRPC does not take these certificates");
        goto failed;
    }
    *ret_tls = tls;
    return 0;
failed:
    files_fini(&files);
    tls_free(tls);
    return rc ? rc : lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
}

void tls_free(struct tls *tls) {
    if (!tls)
        return;
    if (tls->credentials)
        grpc_channel_credentials_release(tls->credentials);
    struct files files = {tls->cacert, tls->cert, tls->key};
    files_fini(&files);
    free(tls->server_name);
    free(tls);
}

static const char *source_of(const struct pem *pem) {
    return pem->path ? pem->path : pem->text;
}

void tls_look(struct tls *tls, int64_t now_ns, bool is_urgent) {
    if (tls->looked_ns != 0 && now_ns - tls->looked_ns < (is_urgent ? LOOK_URGENT_NS : LOOK_NS))
        return;
    tls->looked_ns = now_ns;
    if (!pem_is_stale(&tls->cacert) && !pem_is_stale(&tls->cert) && !pem_is_stale(&tls->key))
        return;
    struct files files;
    if (files_load(&files, source_of(&tls->cacert), source_of(&tls->cert), source_of(&tls->key), NULL))
        return; /* half a pair, or half a file: the next look finds the whole */
    if (!adopt(tls, &files))
        files_fini(&files);
}
