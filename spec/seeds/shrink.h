/* spec/seeds/shrink.h - histories in processes of their own, and the shortest that still fails. */
#ifndef LUN_SPEC_SHRINK_H
#define LUN_SPEC_SHRINK_H

#include "history.h"

/* A crash or a hang is one more way to fail. */
void trial_run(uint64_t seed, const struct decisions *omitted, struct decisions *ret_taken,
               struct history *ret);
/* Leaves out whatever is not needed for the history of `seed` to break what it breaks; `ret_omitted` is sorted,
 * `ret_taken` what is left, `ret` how that ends. Returns how many histories it took, 0: it does not fail. */
unsigned shrink(uint64_t seed, struct decisions *ret_omitted, struct decisions *ret_taken,
                struct history *ret);

#endif
