/* spec/alike/random_scenes.h - scenes drawn from a seed. */
#ifndef LUN_CONFORM_RANDOM_SCENES_H
#define LUN_CONFORM_RANDOM_SCENES_H

#include <stdint.h>

struct party;
/* To the simulator first: it says how many events come, and the other is waited for until as many came. */
void play_random(struct party *party, uint64_t seed, int *heard);

#endif
