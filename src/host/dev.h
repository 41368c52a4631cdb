/* host/dev.h - the private etcd of --dev: one per user and name, started by the first process that needs it, gone
 * after the last. It listens on unix sockets alone, in a directory that no other user can enter.
 *
 * Who is alive is told by the kernel, not by pid files: locks and pipes that vanish with their process. All
 * live in one 0700 directory:
 *
 *   users.lock   every user holds flock(LOCK_SH) on it for life; the keeper waits for LOCK_EX: granted,
 *                the last user is gone
 *   start.lock   held (LOCK_EX) while one user joins
 *   keeper       a fifo whose reading end the keeper holds for life: opening it for writing tells at once
 *                whether there is a keeper, and holders of the writing end see POLLERR when the
 *                keeper dies
 *   etcd:0       the socket of its clients (peer:0 that of other members, which there are none of)
 *   endpoint     "unix://<directory>/etcd:0", written by rename once etcd serves
 *   data/        etcd's; etcd.log beside it
 *
 * The keeper is a process of its own (own session, no descriptor of its starter) that runs etcd (PDEATHSIG,
 * so etcd dies with it), starts it again on the same data when it dies, and in the end removes everything. A
 * lock counts only if its path still names the locked file: the directory may have been removed, and made
 * anew, between open and lock. */
#ifndef LUN_HOST_DEV_H
#define LUN_HOST_DEV_H

#include <stddef.h>

/* Longer paths than any of ours; one that does not fit is cut, and so fails to open. */
#define DEV_PATH_MAX 256
/* What the address of a unix socket has room for, with the name of the socket and a zero byte. */
#define DEV_SOCKET "etcd:0"
#define DEV_PEER_SOCKET "peer:0"
#define DEV_DIR_MAX (108 - (int)sizeof DEV_SOCKET - 1)
#define DEV_KEEPER_FLAG "--keep-etcd"
/* The descriptor on which a keeper tells its starter "ok" or what went wrong; closed afterwards. */
#define DEV_REPORT_FD 3

struct dev_user {
    char dir[DEV_PATH_MAX];
    char endpoint[DEV_PATH_MAX];
    int users_fd;  /* -1: not joined yet */
    int keeper_fd; /* the fifo's writing end, -1: none */
};

struct dev_text {
    char s[1024];
};

/* Makes the calling process a user, for life: an etcd serves at user->endpoint afterwards. Blocks while it
 * starts. Again after the keeper died: takes part in starting another. `program`: etcd's path. `name`: "", or of
 * letters, digits and "-_."; users of different names do not meet. 0 or -1 with `why`. `user` begins as
 * { .users_fd = -1, .keeper_fd = -1 }. */
int dev_join(const char *program, const char *name, struct dev_user *user, struct dev_text *why);

enum dev_event { DEV_NOTHING, DEV_GONE, DEV_NOT_STARTED, DEV_STARTED };

/* Begins a thread that joins again whenever the keeper dies. All arguments are kept; `user` is the thread's from now on.
 * Returns a descriptor that becomes readable when there is something to take, or -errno. Once per process. */
int dev_stay(const char *program, const char *name, struct dev_user *user);
/* What became of the keeper last: it is gone; another was not started, and why (it is tried again); it was started. */
enum dev_event dev_take_event(struct dev_text *why);

/* The keeper's life; returns its exit status only when etcd could not be started at all. */
int dev_keep(const char *dir, const char *program);

/* For both sides. Opens `dir`/`name` as a lock file; -1 with errno. */
int dev_open_lock(const char *dir, const char *name);
/* Removes the directory with all that is known to be ours in it; what else is there stays. */
void dev_remove(const char *dir);
/* `dir`/`name`. */
void dev_path(char path[DEV_PATH_MAX], const char *dir, const char *name);

#endif
