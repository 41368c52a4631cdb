/* spec/unit/starve.h - an allocator that refuses: the n-th request for memory, or a run of them.
 *
 * By the linker: a test program linked with --wrap (spec/CMakeLists.txt, `starved`) has its allocations, the core's and
 * the module's go through here, protobuf-c's unpacking included, and so does what the seam itself may refuse for
 * want of memory (rpc_call, rpc_call_packed, rpc_stream_open, rpc_stream_send, rpc_channel_open): each is one request. The simulator
 * keeps the allocator of the C library. */
#ifndef LUN_UNIT_STARVE_H
#define LUN_UNIT_STARVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From now on: the first `n_before` requests are granted, the next `n_refused` refused, the rest granted.
 * STARVE_FAMINE: refused until starve_end_famine. */
#define STARVE_FAMINE SIZE_MAX
void starve_begin(size_t n_before, size_t n_refused);
/* The same, but of the rest so many in a thousand are refused, as the seed will have it. */
void starve_begin_at_random(size_t n_before, unsigned per_mille, uint64_t seed);
/* Ends a famine, if one has begun. */
void starve_end_famine(void);
/* Requests meanwhile are granted and do not count. */
void starve_pause(bool is_paused);
/* Everything is granted. */
void starve_end(void);
/* One was refused since starve_begin. */
bool starve_has_refused(void);
size_t starve_n_refused(void);
/* Requests since starve_begin. */
size_t starve_n_asked(void);
/* Blocks handed out and not given back. */
long starve_n_live(void);
/* Never refused. */
void *starve_shrink(void *memory, size_t n_bytes);
/* For requests that come another way: counts one, and says whether it is refused. */
bool starve_refuses(void);

#endif
