/* base/err.c - the names and sentences of the error codes; setting an error and wrapping its text outward.
 * See err.h. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct entry {
    int code;
    const char *name;
    const char *sentence;
};

static const struct entry entries[] = {
#define LUN_X(symbol, number, name, sentence) {symbol, name, sentence},
    LUN_ERRORS(LUN_X)
#undef LUN_X
};

static const struct entry *find(int code) {
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++)
        if (entries[i].code == code)
            return &entries[i];
    return NULL;
}

const char *lun_strerror_name(int code) {
    const struct entry *entry = find(code);
    return code == 0 ? "ok" : entry ? entry->name : "unknown";
}

const char *lun_strerror(int code) {
    const struct entry *entry = find(code);
    return code == 0 ? "success" : entry ? entry->sentence : "an unknown error";
}

int lun_err_set(struct lun_err *err, int code, const char *format, ...) {
    if (!err)
        return code;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    (void)text_tame(err->text);
    err->code = code;
    err->status = -1;
    err->is_retriable = false;
    err->is_outcome_unknown = false;
    return code;
}

int lun_err_wrap(struct lun_err *err, const char *format, ...) {
    if (!err)
        return 0;
    char prefix[LUN_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(prefix, sizeof prefix - 2, format, args);
    va_end(args);
    if (n < 0)
        return err->code;
    size_t len = strlen(text_tame(prefix));
    memcpy(prefix + len, ": ", 2);
    len += 2;
    memmove(err->text + len, err->text, sizeof err->text - len);
    memcpy(err->text, prefix, len);
    err->text[sizeof err->text - 1] = '\0';
    return err->code;
}
