/* sim/weather.c - what lasts on a client's way to a member, and how fast its clock goes: for worlds that a person plays
 * with. */
#include "sim/world.h"

void sim_client_slow(struct sim_client *client, int member, int64_t by_ns) {
    client->slow_ns[member] = by_ns;
    sim_say(client->sim, "fault: %lld ms more each way between %s and %s", (long long)(by_ns / NS_PER_MS),
            client->name, sim_addresses[member]);
}

/* Its clock goes on from what it shows. */
void sim_client_set_rate(struct sim_client *client, int64_t rate_ppm) {
    int64_t shown_ns = rpc_now(&client->base);
    client->rate_ppm = rate_ppm;
    client->offset_ns += shown_ns - rpc_now(&client->base);
    if (!client->is_dead && !client->is_paused)
        sim_at(client->sim, &client->wake, client->sim->now_ns);
}
