/* host/dev_files.c - the files of the private etcd, as both its users and its keeper see them. */
#include "host/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

void dev_path(char path[DEV_PATH_MAX], const char *dir, const char *name) {
    (void)snprintf(path, DEV_PATH_MAX, "%s/%s", dir, name);
}

int dev_open_lock(const char *dir, const char *name) {
    char path[DEV_PATH_MAX];
    dev_path(path, dir, name);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type, (void)ftw;
    (void)remove(path);
    return 0;
}

void dev_remove(const char *dir) {
    /* start.lock goes before users.lock: who finds a new users.lock then knows that its own start.lock is the
     * new one too. */
    static const char *const files[] = {"endpoint",      "endpoint.new", "etcd.log",   DEV_SOCKET,
                                        DEV_PEER_SOCKET, "keeper",       "start.lock", "users.lock"};
    char path[DEV_PATH_MAX];
    dev_path(path, dir, "data");
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        dev_path(path, dir, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}
