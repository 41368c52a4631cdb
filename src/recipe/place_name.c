/* recipe/place_name.c - names of lines, and texts about the keys in them: what place.h says of place_check_name,
 * place_identity, place_describe and place_describe_obstacle. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recipe/line.h"
#include "recipe/place.h"

int place_check_name(struct lun_bytes name, struct lun_err *ret_err) {
    if (name.len == 0)
        return lun_err_set(ret_err, LUN_EINVALID, "the name is empty");
    if (name.len > PLACE_MAX_NAME_BYTES)
        return lun_err_set(ret_err, LUN_EINVALID, "the name is longer than %d bytes", PLACE_MAX_NAME_BYTES);
    if (((const char *)name.data)[name.len - 1] == '/')
        return lun_err_set(ret_err, LUN_EINVALID, "the name \"%.*s\" ends in '/': leave that out",
                           (int)name.len, (const char *)name.data);
    return 0;
}

/* Quotes and control characters would break the JSON; a name with any is not worth more than '?' in their
 * place. */
static void copy_plain(char *to, size_t n_bytes, const char *from) {
    size_t i = 0;
    for (; from[i] && i + 1 < n_bytes; i++)
        to[i] = (unsigned char)from[i] < ' ' || from[i] == '"' || from[i] == '\\' ? '?' : from[i];
    to[i] = '\0';
}

int place_identity(struct bytes *ret_value, const char *name) {
    char host[HOST_NAME_MAX + 1] = "?", plain_host[HOST_NAME_MAX + 1], plain_name[256];
    (void)gethostname(host, sizeof host - 1);
    copy_plain(plain_host, sizeof plain_host, host);
    copy_plain(plain_name, sizeof plain_name, name ? name : host);
    return bytes_printf(ret_value, "{\"name\":\"%s\",\"host\":\"%s\",\"pid\":%ld}", plain_name, plain_host,
                        (long)getpid());
}

/* The text behind `"field":"` up to the next quote; false when there is none. */
static bool json_string(const char *json, const char *field, char *to, size_t n_bytes) {
    char pattern[32];
    (void)snprintf(pattern, sizeof pattern, "\"%s\":\"", field);
    const char *from = strstr(json, pattern);
    if (!from)
        return false;
    from += strlen(pattern);
    size_t len = strcspn(from, "\"");
    if (from[len] != '"' || len >= n_bytes)
        return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

/* Printable, and no longer than `n_bytes`: keys and values may hold anything. */
static void printable(char *to, size_t n_bytes, struct lun_bytes from) {
    size_t n = from.len < n_bytes - 1 ? from.len : n_bytes - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = ((const unsigned char *)from.data)[i];
        to[i] = c < ' ' || c == 0x7f ? '?' : (char)c;
    }
    to[n] = '\0';
}

/* ---- what keeps others waiting ----------------------------------------------------------------------- */

/* "locked by web-2 (pid 4711)", from a value that place_identity made; `ret_text->data` is NULL for another. */
static int describe_identity(struct bytes *ret_text, const struct lun_kv *kv) {
    char value[512], name[128], host[HOST_NAME_MAX + 1];
    printable(value, sizeof value, kv->value);
    *ret_text = (struct bytes){NULL, 0};
    const char *pid = strstr(value, "\"pid\":");
    if (value[0] != '{' || !pid || !json_string(value, "name", name, sizeof name) ||
        !json_string(value, "host", host, sizeof host))
        return 0;
    long number = strtol(pid + 6, NULL, 10);
    return strcmp(name, host) == 0
               ? bytes_printf(ret_text, "locked by %s (pid %ld)", host, number)
               : bytes_printf(ret_text, "locked by %s on %s (pid %ld)", name, host, number);
}

static int describe_holder(struct bytes *ret_text, const struct lun_kv *kv) {
    char key[160], value[128];
    int rc = describe_identity(ret_text, kv);
    if (rc || ret_text->data)
        return rc;
    printable(key, sizeof key, kv->key);
    printable(value, sizeof value, kv->value);
    if (value[0])
        return bytes_printf(ret_text, "held by %.80s (key %s)", value, key);
    return bytes_printf(ret_text, "locked by the key %s of lease %016" PRIx64, key, (uint64_t)kv->lease);
}

/* The part of a key behind the line's prefix. */
static struct lun_bytes rest_of(struct lun_bytes prefix, struct lun_bytes key) {
    if (key.len < prefix.len)
        return (struct lun_bytes){"", 0};
    return (struct lun_bytes){(const char *)key.data + prefix.len, key.len - prefix.len};
}

/* Places are named after their lease, by us and by Go's client: perhaps with a mark before it, and a suffix. */
static bool is_named_after_lease(struct lun_bytes rest, int64_t lease) {
    char hex[17];
    const char *name = rest.data;
    size_t len = (size_t)snprintf(hex, sizeof hex, "%" PRIx64, (uint64_t)lease);
    if (rest.len > 0 && name[0] == LINE_SHARED_MARK) {
        name++;
        rest.len--;
    }
    return rest.len >= len && memcmp(name, hex, len) == 0;
}

/* The end of the name of another line whose place has this `rest`; 0: it is a key of this very line. */
static size_t inner_name_len(struct lun_bytes rest) {
    for (size_t i = rest.len; i > 0; i--)
        if (((const char *)rest.data)[i - 1] == '/')
            return i - 1;
    return 0;
}

int place_describe_obstacle(struct bytes *ret_text, struct lun_bytes prefix, const struct lun_kv *kv) {
    char key[160];
    struct lun_bytes rest = rest_of(prefix, kv->key);
    size_t inner_len = inner_name_len(rest);
    *ret_text = (struct bytes){NULL, 0};
    if (kv->lease == 0) {
        printable(key, sizeof key, kv->key);
        return bytes_printf(
            ret_text, "blocked by the key %s, which is bound to no lease: it stays until it is deleted", key);
    }
    if (inner_len > 0) {
        printable(key, sizeof key, (struct lun_bytes){kv->key.data, prefix.len + inner_len});
        return bytes_printf(ret_text, "blocked by %s, whose name lies below this one", key);
    }
    if (is_named_after_lease(rest, kv->lease))
        return 0;
    printable(key, sizeof key, kv->key);
    return bytes_printf(
        ret_text, "blocked by the key %s of lease %016" PRIx64 ", which is no lock's and no candidate's", key,
        (uint64_t)kv->lease);
}

int place_describe(struct bytes *ret_text, struct lun_bytes prefix, const struct lun_kv *kv) {
    struct bytes obstacle, holder = {NULL, 0};
    bool is_inner = kv->lease != 0 && inner_name_len(rest_of(prefix, kv->key)) > 0;
    int rc = place_describe_obstacle(&obstacle, prefix, kv);
    if (rc)
        return rc;
    if (kv->lease != 0)
        rc = is_inner || !obstacle.data ? describe_holder(&holder, kv) : describe_identity(&holder, kv);
    if (!rc && is_inner)
        rc = bytes_printf(ret_text, "%s: %s", obstacle.data, holder.data);
    else if (!rc)
        *ret_text = holder.data ? holder : obstacle;
    if (rc || is_inner || holder.data)
        bytes_fini(&obstacle);
    if (rc || is_inner)
        bytes_fini(&holder);
    return rc;
}
