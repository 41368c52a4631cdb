/* support/pty.c - runs a command on a pseudo-terminal of its own, for specs (support/terminal.lua):
 *
 *     pty COLUMNS ROWS COMMAND...
 *
 * Our stdout gives what the command writes. Our stdin takes lines: "t HEX" types these bytes, "s COLUMNS ROWS" changes
 * the size, "p" answers on stderr with the command's pid; its end hangs up. Our exit status is the command's, or 128 and
 * the signal. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int master;
static pid_t child;

static void write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
}

static void type_hex(const char *hex) {
    for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
        char digits[3] = {hex[0], hex[1], '\0'};
        char byte = (char)strtol(digits, NULL, 16);
        write_all(master, &byte, 1);
    }
}

static void obey(const char *line) {
    unsigned short columns, rows;
    if (line[0] == 't' && line[1] == ' ') {
        type_hex(line + 2);
    } else if (sscanf(line, "s %hu %hu", &columns, &rows) == 2) {
        struct winsize size = {.ws_col = columns, .ws_row = rows};
        (void)ioctl(master, TIOCSWINSZ, &size);
    } else if (line[0] == 'p') {
        (void)fprintf(stderr, "%ld\n", (long)child);
    }
}

/* False: the end of our stdin. */
static bool take_orders(void) {
    static char orders[1 << 16];
    static size_t len;
    ssize_t n = read(STDIN_FILENO, orders + len, sizeof orders - 1 - len);
    if (n <= 0)
        return false;
    len += (size_t)n;
    orders[len] = '\0';
    char *line = orders, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        line = end + 1;
    }
    len -= (size_t)(line - orders);
    memmove(orders, line, len);
    return true;
}

/* False: nobody holds the terminal any more. */
static bool pass_on(void) {
    char bytes[1 << 14];
    ssize_t n = read(master, bytes, sizeof bytes);
    if (n <= 0)
        return false;
    write_all(STDOUT_FILENO, bytes, (size_t)n);
    return true;
}

static int status_of(void) {
    int status;
    if (waitpid(child, &status, 0) != child)
        return 255;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    struct winsize size = {.ws_col = (unsigned short)atoi(argv[1]), .ws_row = (unsigned short)atoi(argv[2])};
    child = forkpty(&master, NULL, NULL, &size);
    if (child < 0)
        return 255;
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execvp(argv[3], argv + 3);
        _exit(127);
    }
    struct pollfd fds[2] = {{.fd = master, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    bool is_open = true;
    while (is_open) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents != 0)
            is_open = pass_on();
        if (is_open && fds[1].fd >= 0 && fds[1].revents != 0 && !take_orders())
            is_open = false;
    }
    (void)close(master);
    return status_of();
}
