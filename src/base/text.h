/* base/text.h - text that came from outside, before it is shown. */
#ifndef LUN_BASE_TEXT_H
#define LUN_BASE_TEXT_H

/* Puts a question mark in place of each control character (of ASCII, and those of Unicode below U+00A0), so that
 * what a server, a key, a name or a certificate says can neither end a line of a log nor command a terminal. In place; any
 * thread. Returns `text`. */
char *text_tame(char *text);

#endif
