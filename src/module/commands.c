/* module/commands.c - the commands of a Lua state. See commands.h.
 *
 * No thread: all descriptors of all commands are in one epoll instance, whose own descriptor every loop can watch. What came
 * is read when it is drained; until then a command that writes more than a pipe holds waits. Its end in time does not depend
 * on us (base/command.h).
 *
 *   running --the supervisor's report--> done --take--> gone
 *      |                                  |
 *      |                                  `--forget, cancel--> gone
 *      `--forget, cancel--> unwanted --the supervisor's report--> gone
 *
 * Also a command whose lines are wanted is finished, for a while, when there are some: take() gives them then. */
#include "module/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/command.h"
#include "base/fd.h"
#include "base/fork.h"
#include "module/command_plan.h"
#include "module/kept.h"
#include "module/module.h"

static const char CLASS[] = LUN_CORE ".commands";
static const char TOKEN[] = LUN_CORE ".command_token";

/* Together as much as a pipe can hold. */
enum { CHUNK_BYTES = 16 * 1024, MAX_CHUNKS = 64 };

enum part { CONTROL, INPUT, OUTPUT, ERRORS, N_PARTS };

struct job;

struct watch {
    struct job *job;
    enum part part;
    bool is_watched;
};

struct job {
    struct list link; /* in commands->jobs */
    lua_Integer id;
    struct command command;
    struct watch watches[N_PARTS];
    char *input;
    size_t input_len, input_at;
    struct kept outputs[2]; /* stdout, stderr */
    struct command_report report;
    bool wants_lines, is_done, is_unwanted, has_news;
};

struct commands {
    unsigned refs, depth;
    int epoll_fd, kick_fd;
    lua_Integer last_id;
    struct list jobs;
};

/* ---- descriptors ------------------------------------------------------------------------------------- */

static int *fd_of(struct job *job, enum part part) {
    struct command *command = &job->command;
    int *fds[N_PARTS] = {&command->control_fd, &command->stdin_fd, &command->stdout_fd, &command->stderr_fd};
    return fds[part];
}

static int watch(struct commands *commands, struct job *job, enum part part) {
    struct watch *watch = &job->watches[part];
    struct epoll_event event = {.events = part == INPUT ? EPOLLOUT : EPOLLIN, .data.ptr = watch};
    *watch = (struct watch){.job = job, .part = part, .is_watched = true};
    return epoll_ctl(commands->epoll_fd, EPOLL_CTL_ADD, *fd_of(job, part), &event);
}

/* In a forked child the commands are the parent's, and so is what its epoll descriptor names. */
static bool is_ours(const struct commands *commands) {
    return commands->depth == fork_depth();
}

/* Before it is closed: a copy of the descriptor, in a process that is being started, would keep it there. */
static void unwatch(struct commands *commands, struct job *job, enum part part) {
    if (job->watches[part].is_watched && is_ours(commands))
        (void)epoll_ctl(commands->epoll_fd, EPOLL_CTL_DEL, *fd_of(job, part), NULL);
    job->watches[part].is_watched = false;
}

static void close_part(struct commands *commands, struct job *job, enum part part) {
    unwatch(commands, job, part);
    fd_close(fd_of(job, part));
}

/* ---- jobs -------------------------------------------------------------------------------------------- */

static void free_input(struct job *job) {
    free(job->input);
    job->input = NULL;
}

static void free_job(struct commands *commands, struct job *job) {
    for (int part = 0; part < N_PARTS; part++)
        unwatch(commands, job, (enum part)part);
    if (!is_ours(commands))
        job->command.supervisor = 0;
    command_close(&job->command);
    list_remove(&job->link);
    kept_fini(&job->outputs[0]);
    kept_fini(&job->outputs[1]);
    free_input(job);
    free(job);
}

static struct job *find(struct commands *commands, lua_Integer id) {
    for (struct list *node = commands->jobs.next; node != &commands->jobs; node = node->next) {
        struct job *job = CONTAINER_OF(node, struct job, link);
        if (job->id == id)
            return job;
    }
    return NULL;
}

static struct job *find_wanted(struct commands *commands, lua_Integer id) {
    struct job *job = find(commands, id);
    return job && !job->is_unwanted ? job : NULL;
}

/* ---- what comes and goes ------------------------------------------------------------------------------ */

static void read_output(struct commands *commands, struct job *job, enum part part) {
    struct kept *kept = &job->outputs[part - OUTPUT];
    char chunk[CHUNK_BYTES];
    for (int i = 0; i < MAX_CHUNKS; i++) {
        ssize_t n = read(*fd_of(job, part), chunk, sizeof chunk);
        if (n > 0) {
            kept_add(kept, chunk, (size_t)n);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else {
            if (n == 0 || errno != EAGAIN)
                close_part(commands, job, part);
            return;
        }
        if (kept_is_full(kept)) {
            unwatch(commands, job, part);
            return;
        }
    }
}

static void write_input(struct commands *commands, struct job *job) {
    ssize_t n = 0;
    if (job->input_at < job->input_len)
        n = fd_write_quietly(job->command.stdin_fd, job->input + job->input_at,
                             job->input_len - job->input_at);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        job->input_at += (size_t)n;
    if (n >= 0 && job->input_at < job->input_len)
        return;
    close_part(commands, job, INPUT);
    free_input(job);
}

/* The group is gone: what is in the pipes is all there will be, but for daemons that have left the group. */
static void finish(struct commands *commands, struct job *job) {
    close_part(commands, job, CONTROL);
    close_part(commands, job, INPUT);
    for (int part = OUTPUT; part <= ERRORS; part++) {
        struct kept *kept = &job->outputs[part - OUTPUT];
        kept_end(kept);
        if (*fd_of(job, (enum part)part) >= 0)
            read_output(commands, job, (enum part)part);
        close_part(commands, job, (enum part)part);
    }
    job->is_done = job->has_news = true;
}

static void on_control(struct commands *commands, struct job *job) {
    if (!command_take_report(&job->command, &job->report))
        return;
    finish(commands, job);
}

static void on_event(struct commands *commands, struct watch *watch) {
    struct job *job = watch->job;
    if (!watch->is_watched)
        return; /* closed by an earlier event of this round */
    if (watch->part == CONTROL)
        on_control(commands, job);
    else if (watch->part == INPUT)
        write_input(commands, job);
    else
        read_output(commands, job, watch->part);
    if (job->wants_lines && !job->is_unwanted && kept_has_lines(job->outputs))
        job->has_news = true;
}

static void free_unwanted(struct commands *commands) {
    for (struct list *node = commands->jobs.next, *next; node != &commands->jobs; node = next) {
        struct job *job = CONTAINER_OF(node, struct job, link);
        next = node->next;
        if (job->is_unwanted && job->is_done)
            free_job(commands, job);
    }
}

/* Reads all there is, or very much of it: then it kicks itself, for a loop that watches for changes only. */
static void collect(struct commands *commands) {
    enum { MAX_ROUNDS = 4, MAX_EVENTS = 16 };
    struct epoll_event events[MAX_EVENTS];
    (void)!read(commands->kick_fd, &(uint64_t){0}, sizeof(uint64_t));
    int n = 1;
    for (int round = 0; n > 0 && round < MAX_ROUNDS; round++) {
        n = epoll_wait(commands->epoll_fd, events, MAX_EVENTS, 0);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr)
                on_event(commands, events[i].data.ptr);
    }
    free_unwanted(commands);
    if (n > 0)
        fd_ring(commands->kick_fd);
}

/* ---- the object -------------------------------------------------------------------------------------- */

static void release(struct commands *commands) {
    if (--commands->refs > 0)
        return;
    while (!list_is_empty(&commands->jobs))
        free_job(commands, CONTAINER_OF(commands->jobs.next, struct job, link));
    fd_close(&commands->epoll_fd);
    fd_close(&commands->kick_fd);
    free(commands);
}

static int open_loop(struct commands *commands) {
    struct epoll_event event = {.events = EPOLLIN};
    commands->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    commands->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (commands->epoll_fd < 0 || commands->kick_fd < 0)
        return -1;
    return epoll_ctl(commands->epoll_fd, EPOLL_CTL_ADD, commands->kick_fd, &event);
}

int commands_open(lua_State *L) {
    struct commands **slot = lua_newuserdatauv(L, sizeof(struct commands *), 0);
    *slot = NULL;
    luaL_getmetatable(L, CLASS);
    lua_setmetatable(L, -2);
    struct commands *commands = calloc(1, sizeof *commands);
    if (!commands)
        return luaL_error(L, "not enough memory");
    *commands = (struct commands){.refs = 1, .depth = fork_depth()};
    list_init(&commands->jobs);
    *slot = commands;
    if (open_loop(commands) == 0)
        return 1;
    lua_pushfstring(L, "no descriptor for it: %s", strerror(errno));
    return push_error(L, LUN_EUNAVAILABLE, lua_tostring(L, -1));
}

static struct commands *check(lua_State *L) {
    struct commands **slot = luaL_checkudata(L, 1, CLASS);
    if (!*slot)
        luaL_error(L, "%s: it has been collected", CLASS);
    return *slot;
}

/* What would take the parent's events and output away from it. */
static struct commands *check_ours(lua_State *L) {
    struct commands *commands = check(L);
    if (!is_ours(commands))
        luaL_error(L, "the command belongs to the process that began it, and this is a forked child");
    return commands;
}

static int l_is_ours(lua_State *L) {
    lua_pushboolean(L, is_ours(check(L)));
    return 1;
}

static int l_pollfd(lua_State *L) {
    lua_pushinteger(L, check(L)->epoll_fd);
    return 1;
}

static int l_has_lines(lua_State *L) {
    lua_pushboolean(L, 0);
    return 1;
}

/* drain(ids) -> n */
static int l_drain(lua_State *L) {
    struct commands *commands = check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    int n = 0;
    if (is_ours(commands))
        collect(commands);
    for (struct list *node = commands->jobs.next; node != &commands->jobs; node = node->next) {
        struct job *job = CONTAINER_OF(node, struct job, link);
        if (!job->has_news || job->is_unwanted || !is_ours(commands))
            continue;
        lua_pushinteger(L, job->id);
        lua_rawseti(L, 2, ++n);
    }
    lua_pushinteger(L, n);
    return 1;
}

static struct job *check_job(lua_State *L, struct commands *commands) {
    struct job *job = find_wanted(commands, luaL_checkinteger(L, 2));
    if (!job)
        luaL_argerror(L, 2, "no such command");
    return job;
}

/* wait(id, timeout_ms) -> whether it has news */
static int l_wait(lua_State *L) {
    struct commands *commands = check_ours(L);
    struct job *job = check_job(L, commands);
    collect(commands);
    if (!job->has_news) {
        struct epoll_event event;
        (void)epoll_wait(commands->epoll_fd, &event, 1, (int)luaL_checkinteger(L, 3));
        collect(commands);
    }
    lua_pushboolean(L, job->has_news);
    return 1;
}

/* remind(id): what has come while nothing waited for it is announced once more, to what waits in a loop from now on. */
static int l_remind(lua_State *L) {
    struct commands *commands = check_ours(L);
    if (check_job(L, commands)->has_news)
        fd_ring(commands->kick_fd);
    return 0;
}

static void push_lines(lua_State *L, struct commands *commands, struct job *job) {
    lua_newtable(L);
    int n = 0;
    for (int i = 0; i < 2; i++) {
        enum part part = (enum part)(OUTPUT + i);
        n = kept_push_lines(L, &job->outputs[i], i == 0 ? "stdout" : "stderr", n);
        if (*fd_of(job, part) >= 0 && !job->watches[part].is_watched)
            (void)watch(commands, job, part);
    }
    job->has_news = job->is_done;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_outcome(lua_State *L, struct job *job) {
    const struct command_report *report = &job->report;
    lua_newtable(L);
    set_integer(L, "stage", report->stage);
    set_integer(L, "cause", report->cause);
    set_integer(L, "error", report->error);
    if (WIFEXITED(report->status))
        set_integer(L, "code", WEXITSTATUS(report->status));
    else if (WIFSIGNALED(report->status))
        set_integer(L, "signal", WTERMSIG(report->status));
    kept_push(L, &job->outputs[0]);
    lua_setfield(L, -2, "stdout");
    kept_push(L, &job->outputs[1]);
    lua_setfield(L, -2, "stderr");
    set_integer(L, "stdout_dropped", (lua_Integer)job->outputs[0].n_dropped);
    set_integer(L, "stderr_dropped", (lua_Integer)job->outputs[1].n_dropped);
    if (report->error != 0) {
        lua_pushstring(L, strerror(report->error));
        lua_setfield(L, -2, "error_text");
    }
}

/* take(id) -> lines, or nil, and what it came to, or nil. With the latter it is gone. */
static int l_take(lua_State *L) {
    struct commands *commands = check_ours(L);
    struct job *job = check_job(L, commands);
    if (job->wants_lines)
        push_lines(L, commands, job);
    else
        lua_pushnil(L);
    if (!job->is_done)
        return 1;
    push_outcome(L, job);
    free_job(commands, job);
    return 2;
}

static void end_job(struct commands *commands, lua_Integer id) {
    struct job *job = find(commands, id);
    if (!job)
        return;
    job->is_unwanted = true;
    if (!is_ours(commands))
        return;
    if (job->is_done) {
        free_job(commands, job);
        return;
    }
    command_ask_end(&job->command);
    for (int part = OUTPUT; part <= ERRORS; part++)
        if (*fd_of(job, (enum part)part) >= 0 && !job->watches[part].is_watched)
            (void)watch(commands, job, (enum part)part);
}

static int l_cancel(lua_State *L) {
    end_job(check(L), luaL_checkinteger(L, 2));
    return 0;
}

/* is_running(id) -> whether its group is still there, which nobody waits for any more. */
static int l_is_running(lua_State *L) {
    struct commands *commands = check(L);
    if (is_ours(commands))
        collect(commands);
    lua_pushboolean(L, is_ours(commands) && find(commands, luaL_checkinteger(L, 2)));
    return 1;
}

/* ---- starting ---------------------------------------------------------------------------------------- */

struct token {
    struct commands *commands;
    lua_Integer id;
};

static int token_gc(lua_State *L) {
    struct token *token = lua_touserdata(L, 1);
    struct commands *commands = token->commands;
    token->commands = NULL;
    if (!commands)
        return 0;
    end_job(commands, token->id);
    release(commands);
    return 0;
}

static struct job *new_job(lua_State *L, struct commands *commands) {
    struct token *token = lua_newuserdatauv(L, sizeof *token, 0);
    *token = (struct token){0};
    luaL_getmetatable(L, TOKEN);
    lua_setmetatable(L, -2);
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        luaL_error(L, "not enough memory");
        return NULL;
    }
    list_push_back(&commands->jobs, &job->link);
    job->command = (struct command){.control_fd = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    job->id = ++commands->last_id;
    *token = (struct token){commands, job->id};
    commands->refs++;
    return job;
}

/* start(spec) -> id, token; nil, message, code */
static int l_start(lua_State *L) {
    struct commands *commands = check_ours(L);
    struct command_words words;
    struct command_plan plan;
    command_plan_read(L, 2, &words, &plan);
    size_t input_len = 0;
    lua_getfield(L, 2, "stdin");
    const char *input = lua_tolstring(L, -1, &input_len);
    lua_getfield(L, 2, "keep");
    lua_getfield(L, 2, "wants_lines");
    size_t limit = (size_t)luaL_checkinteger(L, -2);
    bool wants_lines = lua_toboolean(L, -1);
    struct job *job = new_job(L, commands);
    int token = lua_gettop(L);
    kept_init(&job->outputs[0], limit, wants_lines);
    kept_init(&job->outputs[1], limit, wants_lines);
    job->wants_lines = wants_lines;
    if (input_len > 0) {
        job->input = malloc(input_len);
        if (!job->input) {
            free_job(commands, job);
            return luaL_error(L, "not enough memory");
        }
        memcpy(job->input, input, input_len);
        job->input_len = input_len;
    }
    plan.has_stdin = input != NULL;
    struct lun_err err = {0};
    int rc = command_start(&plan, &job->command, &err);
    for (int part = 0; rc == 0 && part < N_PARTS; part++)
        if (*fd_of(job, (enum part)part) >= 0 && watch(commands, job, (enum part)part) != 0)
            rc = lun_err_set(&err, LUN_EUNAVAILABLE, "watching it: %s", strerror(errno));
    if (rc != 0) {
        free_job(commands, job);
        return push_error(L, rc, err.text);
    }
    lua_settop(L, token);
    lua_pushinteger(L, job->id);
    lua_insert(L, -2);
    return 2;
}

static int commands_gc(lua_State *L) {
    struct commands **slot = lua_touserdata(L, 1);
    if (*slot)
        release(*slot);
    *slot = NULL;
    return 0;
}

static const luaL_Reg METHODS[] = {
    {"start", l_start},         {"remind", l_remind},         {"is_ours", l_is_ours}, {"pollfd", l_pollfd},
    {"has_lines", l_has_lines}, {"drain", l_drain},           {"wait", l_wait},       {"take", l_take},
    {"cancel", l_cancel},       {"is_running", l_is_running}, {"forget", l_cancel},   {NULL, NULL},
};

void commands_register(lua_State *L) {
    if (luaL_newmetatable(L, CLASS)) {
        lua_newtable(L);
        luaL_setfuncs(L, METHODS, 0);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, commands_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    if (luaL_newmetatable(L, TOKEN)) {
        lua_pushcfunction(L, token_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
