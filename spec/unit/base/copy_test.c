/* spec/unit/base/copy_test.c - the supervisor of a command, which goes on in a process whose memory it has given back. */
#include "base/copy.h"

#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "check.h"

enum { WAIT_MS = 30000, EXIT_STATUS = 7 };
/* Some memory beside what is needed stays as well. */
#define BYTES ((size_t)8 * 1024 * 1024)

/* The command waits until its input is closed. */
static int start(struct command *ret) {
    static const char *const argv[] = {"sh", "-c", "read line; exit 7", NULL},
                             *const paths[] = {"/bin/sh", NULL}, *const env[] = {NULL};
    const struct command_plan plan = {.argv = argv,
                                      .paths = paths,
                                      .env = env,
                                      .has_stdin = true,
                                      .timeout_at_ns = COMMAND_NEVER,
                                      .kill_after_ns = NS_PER_S};
    struct lun_err err;
    return command_start(&plan, ret, &err);
}

static int take_status(struct command *command) {
    struct command_report report = {.stage = COMMAND_SUPERVISOR};
    (void)close(command->stdin_fd);
    command->stdin_fd = -1;
    struct pollfd poll_fd = {.fd = command->control_fd, .events = POLLIN};
    while (poll(&poll_fd, 1, WAIT_MS) == 1 && !command_take_report(command, &report))
        ;
    command_close(command);
    return report.stage == COMMAND_RAN ? report.status : -1;
}

/* Nothing of a command was called here before: where functions are bound as late as they are called (lazy binding) what binds
 * them needs memory that is gone by then. */
static void a_supervisor_calls_what_was_never_called_before(void) {
    struct command command;
    REQUIRE(start(&command) == 0);
    CHECK(take_status(&command) == EXIT_STATUS << 8);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

static bool is_middle_mapped_in(pid_t pid, const void *memory) {
    char path[32];
    uintptr_t first, end, at = (uintptr_t)memory + BYTES / 2;
    bool is_found = false;
    (void)snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        check_give_up(__FILE__, __LINE__, path);
    while (!is_found && fscanf(file, "%" SCNxPTR "-%" SCNxPTR "%*[^\n]", &first, &end) == 2)
        is_found = at >= first && at < end;
    (void)fclose(file);
    return is_found;
}

static void memory_without_a_file_is_given_back_unless_it_is_code(void) {
    void *data = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *gap = mmap(NULL, BYTES, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *code = mmap(NULL, BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct command command;
    REQUIRE(data != MAP_FAILED && gap != MAP_FAILED && code != MAP_FAILED && start(&command) == 0);
    int64_t until = clock_boottime_ns() + WAIT_MS * NS_PER_MS;
    while (is_middle_mapped_in(command.supervisor, data) && clock_boottime_ns() < until)
        (void)poll(NULL, 0, 1);
    CHECK(!is_middle_mapped_in(command.supervisor, data));
    CHECK(is_middle_mapped_in(command.supervisor, code));
    CHECK(take_status(&command) == EXIT_STATUS << 8);
    (void)munmap(data, BYTES);
    (void)munmap(gap, BYTES);
    (void)munmap(code, BYTES);
}

#endif

int main(void) {
    RUN(a_supervisor_calls_what_was_never_called_before);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    RUN(memory_without_a_file_is_given_back_unless_it_is_code);
#endif
    return check_end();
}
