/* host/interrupt.c - Ctrl-C at the console: it ends what was typed, or a handler that computes, not the program.
 *
 * Each SIGINT makes a descriptor readable, and the loop ends the wait. Where a coroutine computes and the loop does not
 * turn, the handler sets a hook on it, which raises after some instructions: what is about to wait is left alone. The
 * second one raises again and again, also where a pcall catches it. The third one that the loop has not taken ends the
 * program: what computes is a coroutine of coroutine.wrap, or C. */
#include "host/host.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <lauxlib.h>

#include "base/fd.h"
#include "host/terminal.h"

#define PATIENCE 3
#define INSTRUCTIONS 100000 /* about a millisecond */
#define STATUS 130

static int wake_fd = -1;
static atomic_int n_waiting; /* SIGINTs that the loop has not taken */
static lua_State *_Atomic busy;
static const char error_key;

static void raise_error(lua_State *L, lua_Debug *ar) {
    (void)ar;
    if (atomic_load(&n_waiting) > 1)
        lua_sethook(L, raise_error, LUA_MASKCOUNT, 1);
    else
        lua_sethook(L, NULL, 0, 0);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
    (void)lua_error(L);
}

/* In the Lua thread: all others block signals. */
static void on_interrupt(int number) {
    int saved_errno = errno;
    (void)number;
    if (atomic_fetch_add(&n_waiting, 1) + 1 >= PATIENCE) {
        static const char text[] = "\r\nlunarch: ended by Ctrl-C: what was typed does not end\r\n";
        terminal_restore();
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        _exit(STATUS);
    }
    lua_State *L = atomic_load(&busy);
    /* Another hook ends it already. */
    if (L != NULL && lua_status(L) == LUA_OK && (lua_gethook(L) == NULL || lua_gethook(L) == raise_error))
        lua_sethook(L, raise_error, LUA_MASKCOUNT, INSTRUCTIONS);
    fd_ring(wake_fd);
    errno = saved_errno;
}

int interrupts_catch(void) {
    if (wake_fd >= 0)
        return wake_fd;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0)
        return -1;
    terminal_keep();
    return signals_handle(SIGINT, on_interrupt) ? wake_fd : -1;
}

int interrupts_take(void) {
    uint64_t count;
    (void)!read(wake_fd, &count, sizeof count);
    return atomic_exchange(&n_waiting, 0);
}

void interrupts_set_error(lua_State *L) {
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
}

void interrupts_aim(lua_State *thread) {
    lua_State *before = atomic_exchange(&busy, thread);
    if (before != NULL && before != thread && lua_gethook(before) == raise_error)
        lua_sethook(before, NULL, 0, 0);
}
