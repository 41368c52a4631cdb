/* rpc/grpc/library.c - gRPC itself: started with the first environment, shut down with the last, and silent.
 *
 * A child forked while gRPC runs can never use it: its threads are gone and its locks may be held by them (a
 * call there hangs, its deadline too). So the process that started it is remembered. */
#include "rpc/grpc/env.h"

#include <stdlib.h>
#include <unistd.h>

#include <grpc/support/log.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic pid_t owner; /* 0: not running */
static int n_users;

static void say_nothing(gpr_log_func_args *args) {
    (void)args;
}

int library_acquire(struct lun_err *ret_err) {
    pid_t self = getpid();
    pid_t running_in = owner;
    if (running_in != 0 &&
        running_in != self) /* asked before locking: the lock may have been held when it forked */
        return lun_err_set(ret_err, LUN_EINVALID,
                           "this process was forked while a client was open: open clients after forking, "
                           "or start another program (exec)");
    pthread_mutex_lock(&lock);
    if (n_users++ == 0) {
        if (!getenv("GRPC_VERBOSITY"))
            gpr_set_log_function(say_nothing);
        grpc_init();
        owner = self;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

void library_release(void) {
    pthread_mutex_lock(&lock);
    if (--n_users == 0) {
        grpc_shutdown();
        owner = 0;
    }
    pthread_mutex_unlock(&lock);
}
