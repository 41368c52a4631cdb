/* host/http_pages.h - the pages of `lunarch run --listen`, made from what is published at that moment (facts.h). */
#ifndef LUN_HOST_HTTP_PAGES_H
#define LUN_HOST_HTTP_PAGES_H

#include <stddef.h>

#include "host/facts.h"

struct page {
    unsigned status;
    const char *type; /* of the content */
    char *text;       /* malloc'd; NULL: no memory */
    size_t len;
};

/* The page at `path`, or one that says that there is none. `name`: the value of ?name=, or NULL. Any thread. */
void page_make(struct page *ret, const struct facts_access *facts, const char *path, const char *name);

#endif
