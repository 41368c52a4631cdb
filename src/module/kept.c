/* module/kept.c - what a command has written. See kept.h. */
#include "module/kept.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LINES_BYTES = 256 * 1024, MAX_LINE_BYTES = 64 * 1024 };

void kept_init(struct kept *kept, size_t limit, bool wants_lines) {
    *kept = (struct kept){.limit = limit, .wants_lines = wants_lines};
}

void kept_fini(struct kept *kept) {
    free(kept->data);
    free(kept->lines);
    kept->data = kept->lines = NULL;
}

static bool reserve(char **data, size_t *room, size_t len) {
    if (len <= *room)
        return true;
    size_t more = *room * 2 > len ? *room * 2 : len;
    char *grown = realloc(*data, more);
    if (!grown)
        return false;
    *data = grown;
    *room = more;
    return true;
}

/* Twice the limit is held, so that old bytes are moved out of the way seldom. */
static void keep(struct kept *kept, const char *data, size_t len) {
    if (len > kept->limit) {
        kept->n_dropped += len - kept->limit;
        data += len - kept->limit;
        len = kept->limit;
    }
    if (kept->len + len > 2 * kept->limit) {
        size_t surplus = kept->len + len - kept->limit;
        memmove(kept->data, kept->data + surplus, kept->len - surplus);
        kept->len -= surplus;
        kept->n_dropped += surplus;
    }
    if (len == 0)
        return;
    if (!reserve(&kept->data, &kept->room, kept->len + len)) {
        kept->n_dropped += len;
        return;
    }
    memcpy(kept->data + kept->len, data, len);
    kept->len += len;
}

void kept_add(struct kept *kept, const char *data, size_t len) {
    keep(kept, data, len);
    if (!kept->wants_lines || !reserve(&kept->lines, &kept->lines_room, kept->lines_len + len))
        return;
    memcpy(kept->lines + kept->lines_len, data, len);
    kept->lines_len += len;
}

void kept_end(struct kept *kept) {
    kept->is_ended = true;
}

bool kept_is_full(const struct kept *kept) {
    return !kept->is_ended && kept->lines_len >= MAX_LINES_BYTES;
}

/* The length of the first line, its end included; 0: it is not whole. A very long one comes in parts. */
static size_t first_line(const struct kept *kept, size_t at) {
    size_t left = kept->lines_len - at;
    const char *end = left > 0 ? memchr(kept->lines + at, '\n', left) : NULL;
    if (end)
        return (size_t)(end - (kept->lines + at)) + 1;
    return kept->is_ended || left >= MAX_LINE_BYTES ? left : 0;
}

bool kept_has_lines(const struct kept outputs[2]) {
    return first_line(&outputs[0], 0) > 0 || first_line(&outputs[1], 0) > 0;
}

int kept_push_lines(lua_State *L, struct kept *kept, const char *name, int n) {
    size_t at = 0, len;
    while ((len = first_line(kept, at)) > 0) {
        const char *line = kept->lines + at;
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, line, line[len - 1] == '\n' ? len - 1 : len);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, name);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, ++n);
        at += len;
    }
    if (at > 0)
        memmove(kept->lines, kept->lines + at, kept->lines_len - at);
    kept->lines_len -= at;
    return n;
}

void kept_push(lua_State *L, struct kept *kept) {
    size_t surplus = kept->len > kept->limit ? kept->len - kept->limit : 0;
    lua_pushlstring(L, kept->len > 0 ? kept->data + surplus : "", kept->len - surplus);
    kept->n_dropped += surplus;
    kept->len -= surplus;
    if (surplus > 0)
        memmove(kept->data, kept->data + surplus, kept->len);
}
