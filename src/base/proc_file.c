/* base/proc_file.c - reads a file of /proc. See proc_file.h. */
#include "base/proc_file.h"

#include <errno.h>
#include <fcntl.h>

#include "base/fd.h"

bool proc_file_open(struct proc_file *ret, int folder, const char *path) {
    ret->n = ret->at = 0;
    ret->fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    return ret->fd >= 0;
}

void proc_file_close(struct proc_file *file) {
    fd_close(&file->fd);
}

/* Only when all that was read before is taken. */
static bool read_more(struct proc_file *file) {
    do
        file->n = read(file->fd, file->bytes, sizeof file->bytes);
    while (file->n < 0 && errno == EINTR);
    file->at = 0;
    if (file->n < 0)
        file->n = 0;
    return file->n > 0;
}

int proc_file_next(struct proc_file *file) {
    if (file->at == file->n && !read_more(file))
        return -1;
    return (unsigned char)file->bytes[file->at++];
}

void proc_file_skip_to(struct proc_file *file, char until) {
    int c;
    do
        c = proc_file_next(file);
    while (c >= 0 && c != until);
}

static int digit_of(int c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

uintptr_t proc_file_number(struct proc_file *file, unsigned base, int *ret_end) {
    uintptr_t number = 0;
    int c;
    while ((c = proc_file_next(file)) >= 0 && (unsigned)digit_of(c) < base)
        number = number * base + (uintptr_t)digit_of(c);
    *ret_end = c;
    return number;
}

/* The kernel gives such a file at once; only the name can hold a ')'. */
bool proc_file_skip_name(struct proc_file *file) {
    if (!read_more(file))
        return false;
    file->at = file->n;
    while (file->at > 0 && file->bytes[file->at - 1] != ')')
        file->at--;
    return file->at > 0;
}
