/* base/bytes.h - borrowed slices of bytes, and owned copies of them. Keys and values may hold any byte, zero
 * included. */
#ifndef LUN_BASE_BYTES_H
#define LUN_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed run of bytes: valid as long as its lender says. Layout-compatible with nothing on purpose. */
struct lun_bytes {
    const void *data;
    size_t len;
};

/* Borrows a C string, without its terminator. */
struct lun_bytes lun_bytes_of(const char *string);
bool lun_bytes_equal(struct lun_bytes a, struct lun_bytes b);

/* An owned copy, terminated by a zero that `len` does not count (so that text can be printed). */
struct bytes {
    char *data;
    size_t len;
};

/* Copies; 0 or LUN_ENOMEM. `ret` is set only on success. */
int bytes_copy(struct bytes *ret, struct lun_bytes from);
/* printf into an owned copy; 0 or LUN_ENOMEM. */
int bytes_printf(struct bytes *ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frees and empties. Takes an empty one. */
void bytes_fini(struct bytes *bytes);
static inline struct lun_bytes bytes_view(const struct bytes *bytes) {
    return (struct lun_bytes){bytes->data, bytes->len};
}

/* The end of the range of all keys that begin with `prefix`: its last byte below 0xff raised by one, what
 * follows cut off; a single zero byte (etcd: "to the end") when there is none. 0 or LUN_ENOMEM. */
int bytes_prefix_end(struct bytes *ret, struct lun_bytes prefix);

#endif
