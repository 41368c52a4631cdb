/* spec/alike/stage.h - etcds that are not as usual: without room, with users, with a peer that can be taken
 * away. */
#ifndef LUN_CONFORM_STAGE_H
#define LUN_CONFORM_STAGE_H

#include "etcd_server.h"
#include "party.h"

struct stage {
    const char *name;
    const char *flags[ETCD_FLAGS_MAX];
    bool has_users, has_peer;
    bool are_tokens_signed;
    int token_life_s; /* 0: as usual */
};
extern const struct stage usual_stage, wide_stage, small_stage, guarded_stage, fleeting_stage, signed_stage,
    paired_stage;

struct theatre {
    const struct stage *stage;
    struct etcd_server server, peer;
    struct party real;
};

/* Of a real etcd with users, as root. */
void stage_change_users(const struct etcd_server *server, enum users_change change);

/* False: etcd does not start. */
bool theatre_open(struct theatre *theatre, const struct stage *stage);
void theatre_close(struct theatre *theatre);
/* A simulated etcd for the same stage. */
void theatre_open_sim(const struct theatre *theatre, struct party *ret_party);

#endif
