/* recipe/place_name.c - names of lines, and who stands in them: what place.h says of place_check_name,
 * place_identity and place_describe. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

int place_describe(struct bytes *ret_text, const struct lun_kv *kv) {
    char key[160], value[512], name[128], host[HOST_NAME_MAX + 1];
    printable(key, sizeof key, kv->key);
    printable(value, sizeof value, kv->value);
    const char *pid = strstr(value, "\"pid\":");
    if (value[0] == '{' && pid && json_string(value, "name", name, sizeof name) &&
        json_string(value, "host", host, sizeof host))
        return strcmp(name, host) == 0
                   ? bytes_printf(ret_text, "locked by %s (pid %ld)", host, strtol(pid + 6, NULL, 10))
                   : bytes_printf(ret_text, "locked by %s on %s (pid %ld)", name, host,
                                  strtol(pid + 6, NULL, 10));
    if (kv->lease == 0)
        return bytes_printf(
            ret_text, "blocked by the key %s, which is bound to no lease: it stays until somebody deletes it",
            key);
    if (value[0])
        return bytes_printf(ret_text, "held by %.80s (key %s)", value, key);
    return bytes_printf(ret_text, "locked by the key %s of lease %016" PRIx64, key, (uint64_t)kv->lease);
}
