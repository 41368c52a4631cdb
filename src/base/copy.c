/* base/copy.c - giving back what a forked copy does not need. See copy.h. */
#include "base/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* ---- reading a file of /proc ------------------------------------------------------------------------- */

struct reader {
    int fd;
    ssize_t n, at;
    char buffer[4096];
};

/* -1: it is over. */
static int next_char(struct reader *reader) {
    if (reader->at == reader->n) {
        do
            reader->n = read(reader->fd, reader->buffer, sizeof reader->buffer);
        while (reader->n < 0 && errno == EINTR);
        reader->at = 0;
        if (reader->n <= 0) {
            reader->n = 0;
            return -1;
        }
    }
    return (unsigned char)reader->buffer[reader->at++];
}

static int digit_of(int c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/* Up to the first character that is no digit, which *ret_end is. */
static uintptr_t read_number(struct reader *reader, unsigned base, int *ret_end) {
    uintptr_t number = 0;
    int c;
    while ((c = next_char(reader)) >= 0 && (unsigned)digit_of(c) < base)
        number = number * base + (uintptr_t)digit_of(c);
    *ret_end = c;
    return number;
}

static void skip_to(struct reader *reader, char until) {
    int c;
    do
        c = next_char(reader);
    while (c >= 0 && c != until);
}

/* ---- memory ------------------------------------------------------------------------------------------ */

struct span {
    uintptr_t first, end;
};

enum { N_KEPT = 3 };
/* Below and above an address that is needed: frames still to come, the C library's data of a thread. */
#define BELOW_BYTES ((uintptr_t)256 * 1024)
#define ABOVE_BYTES ((uintptr_t)64 * 1024)
/* The variables of a library that begin as 0 follow its file; other memory may follow them without a gap. */
#define ZEROED_BYTES ((uintptr_t)1024 * 1024)

struct mapping {
    struct span span;
    bool is_private, is_code, has_file, has_name, is_allocated;
};

static struct span around(const void *address, uintptr_t page) {
    uintptr_t at = (uintptr_t)address;
    uintptr_t first = at > BELOW_BYTES ? at - BELOW_BYTES : 0;
    return (struct span){first / page * page, (at + ABOVE_BYTES) / page * page};
}

/* "7f00-7f10 rw-p 00000000 00:00 0    [heap]" */
static bool read_mapping(struct reader *reader, struct mapping *ret) {
    int c, perms[4];
    ret->span.first = read_number(reader, 16, &c);
    if (c != '-')
        return false;
    ret->span.end = read_number(reader, 16, &c);
    for (int i = 0; i < 4; i++)
        perms[i] = next_char(reader);
    ret->is_code = perms[2] == 'x';
    ret->is_private = perms[3] == 'p';
    for (int i = 0; i < 3; i++)
        skip_to(reader, ' ');
    ret->has_file = read_number(reader, 10, &c) != 0;
    while (c == ' ')
        c = next_char(reader);
    ret->has_name = c != '\n' && c >= 0;
    ret->is_allocated = c == '[' && ((c = next_char(reader)) == 'h' || c == 'a'); /* [heap], [anon: */
    if (c >= 0 && c != '\n')
        skip_to(reader, '\n');
    return true;
}

/* All of `span` but what is kept. */
static void drop(struct span span, const struct span kept[N_KEPT]) {
    while (span.first < span.end) {
        uintptr_t end = span.end;
        bool is_kept = false;
        for (int i = 0; i < N_KEPT; i++) {
            if (span.first >= kept[i].first && span.first < kept[i].end) {
                is_kept = true;
                end = kept[i].end < span.end ? kept[i].end : span.end;
                break;
            }
            if (kept[i].first > span.first && kept[i].first < end)
                end = kept[i].first;
        }
        if (!is_kept)
            (void)munmap((void *)span.first, end - span.first); // NOLINT(performance-no-int-to-ptr)
        span.first = end;
    }
}

void copy_drop_memory(void) {
    struct reader reader = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    if (reader.fd < 0)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const struct span kept[N_KEPT] = {around(&reader, page), around(&errno, page),
                                      around((const void *)pthread_self(), page)}; // NOLINT
    struct mapping before = {.has_file = false}, mapping;
    while (read_mapping(&reader, &mapping)) {
        struct span span = mapping.span;
        if (before.has_file && before.span.end == span.first)
            span.first = span.first + ZEROED_BYTES < span.end ? span.first + ZEROED_BYTES : span.end;
        /* Some programs move their code to memory without a file, for larger pages. */
        if (mapping.is_private && !mapping.is_code && !mapping.has_file &&
            (!mapping.has_name || mapping.is_allocated))
            drop(span, kept);
        before = mapping;
    }
    (void)close(reader.fd);
}

#else

/* The sanitizers' own memory is among it. */
void copy_drop_memory(void) {}

#endif

/* ---- the title --------------------------------------------------------------------------------------- */

/* Fields of /proc/self/stat after the name, which ends with the last ')'. */
enum { FIRST_FIELD = 3, ARG_START_FIELD = 48 };

static char *skip_fields(char *at, int n) {
    while (at && n-- > 0)
        at = strchr(at + 1, ' ');
    return at ? at + 1 : NULL;
}

static uintptr_t number_at(const char *text) {
    uintptr_t number = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (uintptr_t)(*text - '0');
    return number;
}

void copy_set_title(const char *title) {
    char text[2048];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *at = strrchr(text, ')');
    char *first = at ? skip_fields(at + 1, ARG_START_FIELD - FIRST_FIELD) : NULL;
    char *end = first ? skip_fields(first, 1) : NULL;
    if (!end)
        return;
    uintptr_t start = number_at(first), stop = number_at(end);
    size_t room = stop > start ? stop - start : 0, len = strlen(title);
    if (start == 0 || room < 2)
        return;
    char *words = (char *)start; // NOLINT(performance-no-int-to-ptr)
    memset(words, 0, room);
    memcpy(words, title, len < room ? len : room - 1);
}
