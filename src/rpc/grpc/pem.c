/* rpc/grpc/pem.c - reads and checks certificates and keys in PEM. See pem.h.
 *
 * gRPC says of every mistake in a certificate or key only that there is no address to connect to, and aborts the process
 * on some. So everything is checked here, before gRPC sees it. */
#include "rpc/grpc/pem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/secret.h"

/* A bundle of all the world's authorities has a quarter of a megabyte. */
enum { MAX_BYTES = 4 << 20 };

static const char *name_of(const struct pem *pem) {
    return pem->path ? pem->path : "(given as text)";
}

static int fail(struct lun_err *ret_err, const struct pem *pem, const char *why) {
    return lun_err_set(ret_err, LUN_EINVALID, "%s %s: %s", pem->option, name_of(pem), why);
}

static struct pem_stamp stamp_of(const struct stat *stat) {
    return (struct pem_stamp){.device = stat->st_dev,
                              .inode = stat->st_ino,
                              .n_bytes = stat->st_size,
                              .modified = stat->st_mtim,
                              .changed = stat->st_ctim};
}

static bool is_same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct pem_stamp *a, const struct pem_stamp *b) {
    return a->device == b->device && a->inode == b->inode && a->n_bytes == b->n_bytes &&
           is_same_time(a->modified, b->modified) && is_same_time(a->changed, b->changed);
}

/* Reads until the end or until the room is full: the number of bytes, or -1 with errno. */
static ssize_t read_all(int fd, char *room, size_t n_bytes) {
    size_t used = 0;
    while (used < n_bytes) {
        ssize_t n = read(fd, room + used, n_bytes - used);
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static int read_open_file(struct pem *pem, int fd, struct lun_err *ret_err) {
    struct stat stat;
    if (fstat(fd, &stat))
        return fail(ret_err, pem, strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return fail(ret_err, pem, "is not a file");
    if (stat.st_size > MAX_BYTES)
        return fail(ret_err, pem, "is larger than 4 MB: it cannot be a certificate or key");
    size_t room = (size_t)stat.st_size + 1;
    pem->text = malloc(room);
    if (!pem->text)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    ssize_t n = read_all(fd, pem->text, room - 1);
    if (n < 0)
        return fail(ret_err, pem, strerror(errno));
    pem->text[n] = '\0';
    pem->stamp = stamp_of(&stat);
    return 0;
}

static int read_file(struct pem *pem, struct lun_err *ret_err) {
    int fd = open(pem->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us up */
    if (fd < 0)
        return fail(ret_err, pem, strerror(errno));
    int rc = read_open_file(pem, fd, ret_err);
    (void)close(fd);
    return rc;
}

/* Text that lacks its PEM header: several lines, or one line of nothing but the base64 that every certificate and key begins with. It
 * is no path, and must not be shown as one. */
static bool is_bare_text(const char *source) {
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    enum { LEAST_BYTES = 40 };
    size_t n_bytes = strlen(source);
    return strchr(source, '\n') ||
           (source[0] == 'M' && n_bytes > LEAST_BYTES && strspn(source, base64) == n_bytes);
}

int pem_load(struct pem *pem, const char *option, const char *source, struct lun_err *ret_err) {
    *pem = (struct pem){.option = option};
    if (!source || source[0] == '\0')
        return 0;
    bool is_text = strstr(source, "-----BEGIN") || is_bare_text(source);
    char **copy = is_text ? &pem->text : &pem->path;
    *copy = strdup(source);
    if (!*copy)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    int rc = is_text ? 0 : read_file(pem, ret_err);
    if (rc)
        pem_fini(pem);
    return rc;
}

void pem_fini(struct pem *pem) {
    free(pem->path);
    secret_wipe(&pem->text);
    *pem = (struct pem){.option = pem->option};
}

bool pem_is_stale(const struct pem *pem) {
    struct stat stat_now;
    if (!pem->path || stat(pem->path, &stat_now))
        return false;
    struct pem_stamp stamp = stamp_of(&stat_now);
    return !is_same(&stamp, &pem->stamp);
}

/* ---- checks ------------------------------------------------------------------------------------------ */

/* OpenSSL would ask for one on the terminal. */
static int no_password(char *room, int n_bytes, int is_writing, void *arg) {
    (void)room;
    (void)n_bytes;
    (void)is_writing;
    (void)arg;
    return 0;
}

static BIO *open_text(const struct pem *pem) {
    return BIO_new_mem_buf(pem->text, -1);
}

static bool ran_out_of_certificates(void) {
    unsigned long error = ERR_peek_last_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

static int check_authorities(const struct pem *pem, struct lun_err *ret_err) {
    BIO *bio = open_text(pem);
    if (!bio)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    int n = 0;
    for (X509 *certificate; (certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL)); n++)
        X509_free(certificate);
    BIO_free(bio);
    if (!ran_out_of_certificates())
        return lun_err_set(ret_err, LUN_EINVALID, "%s %s: certificate %d in it is broken", pem->option,
                           name_of(pem), n + 1);
    return n > 0 ? 0
                 : fail(ret_err, pem, "no certificate in it (PEM is expected: -----BEGIN CERTIFICATE-----)");
}

void pem_day(const ASN1_TIME *at, char ret_day[PEM_DAY_BYTES]) {
    struct tm tm;
    if (ASN1_TIME_to_tm(at, &tm) != 1 || strftime(ret_day, PEM_DAY_BYTES, "%F %T UTC", &tm) == 0)
        memcpy(ret_day, "an unreadable date", sizeof "an unreadable date");
}

static int fail_date(struct lun_err *ret_err, const struct pem *pem, const char *what, const ASN1_TIME *at) {
    char day[PEM_DAY_BYTES];
    pem_day(at, day);
    return lun_err_set(ret_err, LUN_EINVALID, "%s %s: the certificate %s %s", pem->option, name_of(pem), what,
                       day);
}

static int check_dates(const struct pem *pem, const X509 *certificate, struct lun_err *ret_err) {
    const ASN1_TIME *until = X509_get0_notAfter(certificate), *from = X509_get0_notBefore(certificate);
    if (X509_cmp_current_time(until) < 0)
        return fail_date(ret_err, pem, "expired on", until);
    if (X509_cmp_current_time(from) > 0)
        return fail_date(ret_err, pem, "is valid only from", from);
    return 0;
}

static int check_key(const struct pem *cert, const X509 *certificate, const struct pem *key,
                     struct lun_err *ret_err) {
    BIO *bio = open_text(key);
    EVP_PKEY *secret = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    if (!secret)
        return fail(ret_err, key,
                    strstr(key->text, "ENCRYPTED")
                        ? "the key is encrypted: Lunarch takes no passphrase; decrypt it (openssl pkey)"
                        : "no private key in it (PEM is expected: -----BEGIN PRIVATE KEY-----)");
    bool is_pair = X509_check_private_key(certificate, secret) == 1;
    EVP_PKEY_free(secret);
    if (is_pair)
        return 0;
    return lun_err_set(ret_err, LUN_EINVALID, "key %s does not belong to cert %s", name_of(key),
                       name_of(cert));
}

static int check_pair(const struct pem *cert, const struct pem *key, struct lun_err *ret_err) {
    BIO *bio = open_text(cert);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;
    BIO_free(bio);
    if (!certificate)
        return fail(ret_err, cert, "no certificate in it (PEM is expected: -----BEGIN CERTIFICATE-----)");
    int rc = check_dates(cert, certificate, ret_err);
    if (!rc)
        rc = check_key(cert, certificate, key, ret_err);
    X509_free(certificate);
    return rc;
}

int pem_check(const struct pem *cacert, const struct pem *cert, const struct pem *key,
              struct lun_err *ret_err) {
    if (!cert->text != !key->text)
        return lun_err_set(
            ret_err, LUN_EINVALID, "%s %s: a client certificate needs both cert and key, and %s is missing",
            cert->text ? "cert" : "key", name_of(cert->text ? cert : key), cert->text ? "key" : "cert");
    ERR_clear_error();
    int rc = cacert->text ? check_authorities(cacert, ret_err) : 0;
    if (!rc && cert->text)
        rc = check_pair(cert, key, ret_err);
    ERR_clear_error();
    return rc;
}
