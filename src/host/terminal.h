/* host/terminal.h - the terminal as we found it: however the program ends or is stopped, it is left so. */
#ifndef LUN_HOST_TERMINAL_H
#define LUN_HOST_TERMINAL_H

/* Remembers how the terminal is set, before anything sets it otherwise; and gives it back when Ctrl-Z stops the program
 * or Ctrl-\ ends it. Nothing, if stdin is no terminal. */
void terminal_keep(void);
/* Gives it back as it was. Nothing, if it was not kept. For signal handlers, too. */
void terminal_restore(void);

#endif
