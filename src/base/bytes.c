/* base/bytes.c - copies of byte slices, and the end of the range of all keys with a prefix. See bytes.h. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct lun_bytes lun_bytes_of(const char *string) {
    return (struct lun_bytes){string, string ? strlen(string) : 0};
}

bool lun_bytes_equal(struct lun_bytes a, struct lun_bytes b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

int bytes_copy(struct bytes *ret, struct lun_bytes from) {
    char *data = malloc(from.len + 1);
    if (!data)
        return LUN_ENOMEM;
    if (from.len > 0)
        memcpy(data, from.data, from.len);
    data[from.len] = '\0';
    *ret = (struct bytes){data, from.len};
    return 0;
}

int bytes_printf(struct bytes *ret, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *data = NULL;
    int n = vasprintf(&data, format, args);
    va_end(args);
    if (n < 0)
        return LUN_ENOMEM;
    *ret = (struct bytes){data, (size_t)n};
    return 0;
}

void bytes_fini(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes){NULL, 0};
}

int bytes_prefix_end(struct bytes *ret, struct lun_bytes prefix) {
    struct bytes end;
    int rc = bytes_copy(&end, prefix);
    if (rc)
        return rc;
    while (end.len > 0 && (unsigned char)end.data[end.len - 1] == 0xff)
        end.len--;
    if (end.len == 0) {
        end.data[0] = '\0';
        end.len = 1;
        if (prefix.len == 0) { /* room for one byte and the terminator was made only for a non-empty prefix */
            bytes_fini(&end);
            return bytes_copy(ret, (struct lun_bytes){"", 1});
        }
    } else {
        end.data[end.len - 1] = (char)((unsigned char)end.data[end.len - 1] + 1);
    }
    end.data[end.len] = '\0';
    *ret = end;
    return 0;
}
