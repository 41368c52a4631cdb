/* spec/seeds/door_kinds.c - what a machine behind the door may hold: one row for each kind. */
#include "world.h"

/* ---- mutexes -------------------------------------------------------------------------------------------- */

static int make_mutex(struct stand *stand) {
    struct lun_mutex *mutex;
    int rc = lun_mutex_new(stand->machine->open, lines[stand->line], false, &mutex, NULL);
    stand->object = rc ? NULL : mutex;
    return rc;
}

static int enter_mutex(struct stand *stand, bool is_trying, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    return is_trying ? lun_mutex_try_lock(stand->object, ask, ret_op, ret_err)
                     : lun_mutex_lock(stand->object, ask, ret_op, ret_err);
}

static struct lun_bytes mutex_key(const struct stand *stand) {
    return lun_mutex_key(stand->object);
}

static int await_mutex(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    return lun_mutex_await_loss(stand->object, ask, ret_op, ret_err);
}

static int leave_mutex(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    return lun_mutex_unlock(stand->object, ask, ret_op, ret_err);
}

static void release_mutex(struct stand *stand) {
    lun_mutex_release(stand->object);
}

static int mutex_owner(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    return lun_mutex_owner(stand->object, ask, ret_op, ret_err);
}

static void free_mutex(void *object) {
    lun_mutex_free(object);
}

/* ---- elections, and their terms ------------------------------------------------------------------------- */

static int make_election(struct stand *stand) {
    struct lun_election *election;
    int rc = lun_election_new(stand->machine->open, lines[stand->line], &election, NULL);
    stand->object = rc ? NULL : election;
    return rc;
}

static int campaign(struct stand *stand, bool is_trying, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    (void)is_trying;
    return lun_election_campaign(stand->object, lun_bytes_of(stand->machine->name), ask, ret_op, ret_err);
}

static struct lun_bytes term_key(const struct stand *stand) {
    return lun_term_key(stand->term);
}

static int await_term(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *ret_err) {
    return lun_term_await_loss(stand->term, ask, ret_op, ret_err);
}

static int resign(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                  struct lun_err *ret_err) {
    return lun_term_resign(stand->term, ask, ret_op, ret_err);
}

static int leader(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                  struct lun_err *ret_err) {
    return lun_election_leader(stand->object, ask, ret_op, ret_err);
}

static void free_election(void *object) {
    lun_election_free(object);
}

/* ---- all of them ---------------------------------------------------------------------------------------- */

static const struct kind kinds[] = {
    {
        .deed = 32,
        .enter = "lock",
        .try_to_enter = "try_lock",
        .leave = "unlock",
        .leaves = "unlocks",
        .make = make_mutex,
        .ask_in = enter_mutex,
        .key = mutex_key,
        .await_loss = await_mutex,
        .ask_out = leave_mutex,
        .release = release_mutex,
        .ask_owner = mutex_owner,
        .free = free_mutex,
    },
    {
        .deed = 33,
        .enter = "campaign",
        .enters = "campaigns for",
        .leave = "resign",
        .leaves = "resigns",
        .make = make_election,
        .ask_in = campaign,
        .key = term_key,
        .await_loss = await_term,
        .ask_out = resign,
        .ask_owner = leader,
        .free = free_election,
    },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

const struct kind *draw_kind(unsigned n_slots, int64_t per_mille) {
    int64_t n = 0, left;
    for (size_t i = 0; i < KINDS; i++)
        n += kinds[i].is_shared == (n_slots > 1);
    left = per_mille * n / 1000;
    for (size_t i = 0; i < KINDS; i++)
        if (kinds[i].is_shared == (n_slots > 1) && left-- == 0)
            return &kinds[i];
    return NULL;
}
