/* base/thread.h - threads of our own in a program that is not. */
#ifndef LUN_BASE_THREAD_H
#define LUN_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>

/* pthread_create with all signals blocked in the new thread: handlers of the program run in its own threads alone. */
static inline int thread_start(pthread_t *ret_thread, void *(*run)(void *arg), void *arg) {
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(ret_thread, NULL, run, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

#endif
