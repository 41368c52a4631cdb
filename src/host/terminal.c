/* host/terminal.c - puts the terminal back as it was when a signal ends or stops the program. See terminal.h.
 *
 * The prompt takes single keys (prompt.c) and puts the terminal back when it is closed; here is what ends the program
 * before that, or stops it. */
#include "host/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "host/host.h"

static struct termios found;
static bool is_kept, takes_sequences;

/* Pastes in brackets, which readline asks for. */
static void set_bracketed(bool is_on) {
    if (takes_sequences)
        (void)!write(STDOUT_FILENO, is_on ? "\033[?2004h" : "\033[?2004l", 8);
}

void terminal_restore(void) {
    int saved_errno = errno;
    struct termios present;
    if (is_kept && tcgetattr(STDIN_FILENO, &present) == 0 && present.c_lflag != found.c_lflag) {
        set_bracketed(false);
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
    }
    errno = saved_errno;
}

/* With its default action, which `number` has from here on. */
static void take_default(int number) {
    sigset_t own;
    (void)signal(number, SIG_DFL);
    (void)sigemptyset(&own);
    (void)sigaddset(&own, number);
    (void)raise(number);
    (void)pthread_sigmask(SIG_UNBLOCK, &own, NULL);
}

static void on_quit(int number) {
    terminal_restore();
    take_default(number);
}

/* Runs on where SIGCONT finds it; the prompt draws its line anew by that signal. */
static void on_stop(int number) {
    int saved_errno = errno;
    struct termios present;
    bool is_set = is_kept && tcgetattr(STDIN_FILENO, &present) == 0 && present.c_lflag != found.c_lflag;
    (void)number;
    terminal_restore();
    (void)raise(SIGSTOP);
    if (is_set) {
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &present);
        set_bracketed(true);
    }
    errno = saved_errno;
}

static void handle_unless_handled(int number, void (*handler)(int)) {
    struct sigaction present;
    if (sigaction(number, NULL, &present) == 0 && present.sa_handler == SIG_DFL)
        (void)signals_handle(number, handler);
}

void terminal_keep(void) {
    const char *name = getenv("TERM");
    if (is_kept || tcgetattr(STDIN_FILENO, &found) != 0)
        return;
    is_kept = true;
    takes_sequences = isatty(STDOUT_FILENO) && name != NULL && strcmp(name, "dumb") != 0;
    handle_unless_handled(SIGQUIT, on_quit);
    handle_unless_handled(SIGTSTP, on_stop);
}
