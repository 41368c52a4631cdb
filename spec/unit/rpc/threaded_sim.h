/* spec/unit/rpc/threaded_sim.h - the simulated etcd in real time, behind the real environment.
 *
 * A program linked with --wrap (spec/CMakeLists.txt) opens its clients by lun_client_open as ever: core lock,
 * background poller and queue, validity thread, inbox and descriptor are those of production (rpc/grpc: env, queue, validity_thread, inbox). What
 * is replaced is gRPC alone: its queue by one in which ThreadSanitizer sees everything, its calls and streams by
 * the simulator's, which a thread of its own, the network, moves on by the clock. */
#ifndef LUN_UNIT_THREADED_SIM_H
#define LUN_UNIT_THREADED_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts the network. Clients are to be opened on sim_addresses. */
void threaded_sim_start(uint64_t seed);
/* While on: replies and requests get lost, connections break, members freeze, stop and are cut off; now and then
 * all is silent for so long that sessions of TTL 2 are lost. */
void threaded_sim_trouble(bool is_on);
/* After every client was freed: ends the network, lets leases lapse, and says what is left (NULL: nothing). */
const char *threaded_sim_stop(void);

#endif
