/* base/secret.c - wipes passwords, tokens and keys from memory before it is freed. See secret.h. */
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

void secret_wipe(char **text) {
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}
