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

#include "base/proc_file.h"

struct span {
    uintptr_t first, end;
};

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

/* ---- memory ------------------------------------------------------------------------------------------ */

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
static bool read_mapping(struct proc_file *maps, struct mapping *ret) {
    int c, perms[4];
    ret->span.first = proc_file_number(maps, 16, &c);
    if (c != '-')
        return false;
    ret->span.end = proc_file_number(maps, 16, &c);
    for (int i = 0; i < 4; i++)
        perms[i] = proc_file_next(maps);
    ret->is_code = perms[2] == 'x';
    ret->is_private = perms[3] == 'p';
    for (int i = 0; i < 3; i++)
        proc_file_skip_to(maps, ' ');
    ret->has_file = proc_file_number(maps, 10, &c) != 0;
    while (c == ' ')
        c = proc_file_next(maps);
    ret->has_name = c != '\n' && c >= 0;
    ret->is_allocated = c == '[' && ((c = proc_file_next(maps)) == 'h' || c == 'a'); /* [heap], [anon: */
    if (c >= 0 && c != '\n')
        proc_file_skip_to(maps, '\n');
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
    struct proc_file maps;
    if (!proc_file_open(&maps, AT_FDCWD, "/proc/self/maps"))
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const struct span kept[N_KEPT] = {around(&maps, page), around(&errno, page),
                                      around((const void *)pthread_self(), page)}; // NOLINT
    struct mapping before = {.has_file = false}, mapping;
    while (read_mapping(&maps, &mapping)) {
        struct span span = mapping.span;
        if (before.has_file && before.span.end == span.first)
            span.first = span.first + ZEROED_BYTES < span.end ? span.first + ZEROED_BYTES : span.end;
        /* Some programs move their code to memory without a file, for larger pages. */
        if (mapping.is_private && !mapping.is_code && !mapping.has_file &&
            (!mapping.has_name || mapping.is_allocated))
            drop(span, kept);
        before = mapping;
    }
    proc_file_close(&maps);
}

#else

/* The sanitizers' own memory is among it. */
void copy_drop_memory(void) {}

#endif

/* ---- the title --------------------------------------------------------------------------------------- */

/* Fields of /proc/self/stat: the one behind the name, and the one of the title. */
enum { FIRST_FIELD = 3, ARG_START_FIELD = 48 };

/* Where the title begins and ends; false: not known. */
static bool find_title(struct span *ret) {
    struct proc_file stat;
    if (!proc_file_open(&stat, AT_FDCWD, "/proc/self/stat"))
        return false;
    bool is_found = proc_file_skip_name(&stat);
    for (int i = FIRST_FIELD; i <= ARG_START_FIELD; i++)
        proc_file_skip_to(&stat, ' ');
    int c;
    ret->first = proc_file_number(&stat, 10, &c);
    ret->end = proc_file_number(&stat, 10, &c);
    proc_file_close(&stat);
    return is_found;
}

void copy_set_title(const char *title) {
    struct span span;
    if (!find_title(&span))
        return;
    size_t room = span.end > span.first ? span.end - span.first : 0, len = strlen(title);
    if (span.first == 0 || room < 2)
        return;
    char *words = (char *)span.first; // NOLINT(performance-no-int-to-ptr)
    memset(words, 0, room);
    memcpy(words, title, len < room ? len : room - 1);
}
