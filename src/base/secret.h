/* base/secret.h - text that must not stay in memory once it is of no use: passwords, tokens, private keys. */
#ifndef LUN_BASE_SECRET_H
#define LUN_BASE_SECRET_H

/* Overwrites `*text` up to its zero byte, frees it, and sets it to NULL. Takes one that is NULL. Any thread. */
void secret_wipe(char **text);

#endif
