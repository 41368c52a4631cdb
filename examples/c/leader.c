/* leader.c - a program of which one instance works, on however many hosts it runs: it holds a lock, works, and hands
 * over when it is told to stop.
 *
 *   cc leader.c -o leader $(pkg-config --cflags --libs lunarch)
 *   ./leader /jobs/nightly 127.0.0.1:2379      in two terminals; then Ctrl-C, or kill, the one that works
 *
 * For an etcd that wants to know who it is (the library itself reads no environment, the program decides):
 *
 *   LUNARCH_CACERT=ca.pem LUNARCH_CERT=me.pem LUNARCH_KEY=me.key LUNARCH_USER=jobs LUNARCH_PASSWORD_FILE=secret \
 *     ./leader /jobs/nightly https://etcd-1:2379 https://etcd-2:2379
 *
 * Everything is asked and answered later (see lunarch.h), so the program has a loop of its own: poll(2) on the client's
 * descriptor and on one for signals. A socket of yours would be a third. */
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <lunarch.h>

enum { TTL_S = 5, WORK_MS = 500, HAND_OVER_MS = 5000, FOR_EVER = -1 };

struct answer {
    bool is_done;
    struct lun_err err; /* code 0: success */
    struct lun_session *session;
    int64_t token;
    enum lun_reason reason;
};

static struct lun_client *client;
static int signals;
static bool is_stopping;

static void on_done(void *arg, const struct lun_result *result) {
    struct answer *answer = arg;
    answer->is_done = true;
    if (result->err)
        answer->err = *result->err;
    answer->session = result->session;
    answer->token = result->token;
    answer->reason = result->reason;
}

static void fail(const char *what, const struct lun_err *err) {
    fprintf(stderr, "leader: %s: %s\n", what, err->text[0] ? err->text : lun_strerror(err->code));
    exit(EXIT_FAILURE);
}

/* One turn of our loop: waits at most so long for something to happen, and lets it. */
static void turn(int timeout_ms) {
    struct pollfd fds[] = {{.fd = lun_client_fd(client), .events = POLLIN},
                           {.fd = signals, .events = POLLIN}};
    if (poll(fds, 2, timeout_ms) > 0 && fds[1].revents) {
        struct signalfd_siginfo info;
        is_stopping = read(signals, &info, sizeof info) > 0 || is_stopping;
    }
    lun_client_poll(client, 0);
}

/* Turns until there is an answer, or until we are told to stop unless that does not matter. */
static void await(const char *what, int asked, struct answer *answer, bool until_told) {
    answer->err.code = answer->err.code ? answer->err.code : asked;
    while (asked == 0 && !answer->is_done && !(until_told && is_stopping))
        turn(FOR_EVER);
    if (answer->err.code)
        fail(what, &answer->err);
}

static void hand_over(struct lun_mutex *mutex) {
    struct answer unlocked = {0}, closed = {0};
    struct lun_ask ask = {.timeout_ms = HAND_OVER_MS, .on_done = on_done, .arg = &unlocked};
    if (mutex)
        await("unlock", lun_mutex_unlock(mutex, &ask, NULL, &unlocked.err), &unlocked, false);
    ask.arg = &closed;
    await("close", lun_client_close(client, &ask, NULL, &closed.err), &closed, false);
}

/* Until told to stop, or until the lock is about to be another's. */
static void work(struct lun_mutex *mutex, int64_t token) {
    struct answer loss = {0};
    struct lun_ask ask = {.timeout_ms = FOR_EVER, .on_done = on_done, .arg = &loss};
    if (lun_mutex_await_loss(mutex, &ask, NULL, &loss.err) != 0)
        fail("watching the lock", &loss.err);
    while (!is_stopping && !loss.is_done) {
        /* Whatever takes the token should refuse one that is lower than the last it saw. */
        printf("working, token %" PRId64 "\n", token);
        turn(WORK_MS);
    }
    if (loss.is_done)
        printf("lost: %s\n", lun_reason_name(loss.reason));
    /* Its answer comes before everything that it points to is gone: close answers whatever is still out. */
    hand_over(loss.is_done ? NULL : mutex);
}

static void watch_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The first line of a file. A password on the command line could be read by everybody on the machine. */
static const char *password_from(const char *path) {
    static char line[256];
    FILE *file = path ? fopen(path, "re") : NULL;
    if (path && (!file || !fgets(line, sizeof line, file))) {
        fprintf(stderr, "leader: %s: no password can be read\n", path);
        exit(EXIT_FAILURE);
    }
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return path ? line : getenv("LUNARCH_PASSWORD");
}

/* Who we are, and which servers we trust. All may be missing: then it is plaintext, without a user. Files are read again when
 * they are replaced; the strings are copied. */
static void read_credentials(struct lun_config *config) {
    config->cacert = getenv("LUNARCH_CACERT");
    config->cert = getenv("LUNARCH_CERT");
    config->key = getenv("LUNARCH_KEY");
    config->server_name = getenv("LUNARCH_SERVER_NAME");
    config->user = getenv("LUNARCH_USER");
    config->password = password_from(getenv("LUNARCH_PASSWORD_FILE"));
    config->prefix = getenv("LUNARCH_PREFIX");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: leader NAME [ENDPOINT...]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    watch_signals();

    struct lun_err err = {0};
    struct lun_config config = {.n_endpoints = (size_t)argc - 2};
    if (argc > 2)
        config.endpoints = (const char *const *)argv + 2;
    read_credentials(&config);
    if (lun_client_open(&config, &client, &err) != 0)
        fail("connect", &err);

    struct answer opened = {0}, locked = {0};
    struct lun_session_options options = {.ttl_s = TTL_S, .grace_ms = -1};
    struct lun_ask ask = {.timeout_ms = FOR_EVER, .on_done = on_done, .arg = &opened};
    await("session", lun_session_open(client, &options, &ask, NULL, &opened.err), &opened, true);

    struct lun_mutex *mutex = NULL;
    if (opened.session) {
        if (lun_mutex_new(opened.session, argv[1], false, &mutex, &err) != 0)
            fail("lock", &err);
        printf("waiting for %s\n", argv[1]);
        ask.arg = &locked;
        await("lock", lun_mutex_lock(mutex, &ask, NULL, &locked.err), &locked, true);
    }
    if (locked.is_done)
        work(mutex, locked.token);
    else
        hand_over(NULL);

    lun_mutex_free(mutex);
    lun_session_free(opened.session);
    lun_client_free(client);
    printf("handed over\n");
    return EXIT_SUCCESS;
}
