/* base/text.c - makes text that came from outside harmless, before it is shown. See text.h. */
#include "base/text.h"

#include <stdbool.h>

/* U+0080 to U+009F are two bytes in UTF-8. */
static bool is_high_control(const unsigned char *at) {
    return at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0;
}

char *text_tame(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        if (is_high_control(at)) {
            *at++ = '?';
            *at = '?';
        } else if (*at < 0x20 || *at == 0x7f) {
            *at = '?';
        }
    }
    return text;
}
