/* module/kept.h - what a command has written: the last so many bytes of it, and its lines until they are taken. */
#ifndef LUN_MODULE_KEPT_H
#define LUN_MODULE_KEPT_H

#include <stdbool.h>
#include <stddef.h>

#include "module/compat.h"

struct kept {
    char *data;
    size_t len, room, limit;
    size_t n_dropped; /* from the beginning */
    bool wants_lines, is_ended;
    char *lines; /* not taken yet */
    size_t lines_len, lines_room;
};

void kept_init(struct kept *kept, size_t limit, bool wants_lines);
void kept_fini(struct kept *kept);
/* Out of memory, it is dropped. */
void kept_add(struct kept *kept, const char *data, size_t len);
/* Nothing comes after what is added next: an unfinished line is one from now on, and no limit holds for lines. */
void kept_end(struct kept *kept);
/* Whether so much waits to be taken that nothing should be read before. */
bool kept_is_full(const struct kept *kept);
/* Of stdout and stderr. */
bool kept_has_lines(const struct kept outputs[2]);
/* Adds { text, name } for every whole line to the table at the top, after its first `n`; how many are in it then. */
int kept_push_lines(lua_State *L, struct kept *kept, const char *name, int n);
/* Pushes what is kept. */
void kept_push(lua_State *L, struct kept *kept);

#endif
