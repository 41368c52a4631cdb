/* host/init.h - the program as the first process of a container (docker run, unshare --pid). */
#ifndef LUN_HOST_INIT_H
#define LUN_HOST_INIT_H

#include <stdbool.h>

/* In the first process of a pid namespace: goes on in a child, false; and in the parent, which has reaped orphans and
 * forwarded signals meanwhile, true after the child's end, with the status to exit with. Elsewhere false. Before any thread. */
bool init_look_after(int *ret_status);

#endif
