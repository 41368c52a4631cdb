/* host/notify.h - words for the service manager, as sd_notify(3) sends them: a datagram to the socket that $NOTIFY_SOCKET
 * names. */
#ifndef LUN_HOST_NOTIFY_H
#define LUN_HOST_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>

/* Sends "READY=1\nSTATUS=..." for example. Never waits: a manager that does not read loses it. Nothing without the
 * variable. 0 or a negative errno. */
int notify(const char *text, size_t len);
/* Milliseconds between two WATCHDOG=1 at most, as $WATCHDOG_USEC and $WATCHDOG_PID ask; 0: none are wanted. */
int notify_watchdog_ms(void);
/* Whether this descriptor leads to the journal, as $JOURNAL_STREAM says. */
bool notify_is_journal(int fd);

#endif
