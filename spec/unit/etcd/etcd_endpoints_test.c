/* spec/unit/etcd/etcd_endpoints_test.c - what names a member: host and port, once each. */
#include "etcd_world.h"

static int try_endpoint(const char *endpoint, char *ret_address) {
    struct fake *fake = fake_new();
    struct rpc *rpc = fake_rpc(fake);
    struct etcd *etcd = NULL;
    struct lun_err err = {0};
    rpc_enter(rpc);
    int rc = etcd_new(rpc, &endpoint, 1, NULL, &etcd, &err);
    if (!rc) {
        (void)snprintf(ret_address, 64, "%s", etcd_member_address(etcd_member_at(etcd, 0)));
        etcd_free(etcd);
    } else {
        CHECK(err.code == rc && strstr(err.text, "endpoint"));
    }
    rpc_leave(rpc);
    fake_free(fake);
    return rc;
}

static void endpoints_are_host_and_port(void) {
    static const char *const good[][2] = {{"127.0.0.1:2379", "127.0.0.1:2379"},
                                          {"http://etcd-1.example:2379", "etcd-1.example:2379"},
                                          {"http://h:1/", "h:1"},
                                          {"HTTPS://h:1", "h:1"},
                                          {"[::1]:2379", "[::1]:2379"}};
    static const char *const bad[] = {"",        "h",       "h:",       ":1",    "h:0",
                                      "h:65536", "h:1x",    "https://", "::1:2", "h:1/path",
                                      "h:1,i:2", "http://", "h h:1",    "h:-1"};
    char address[64];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK(try_endpoint(good[i][0], address) == 0);
        CHECK_TEXT(address, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (try_endpoint(bad[i], address) != LUN_EINVALID)
            check_fail(__FILE__, __LINE__, bad[i]);
}

static void there_is_at_least_one_endpoint_and_each_counts_once(void) {
    struct fake *fake = fake_new();
    struct rpc *rpc = fake_rpc(fake);
    struct etcd *etcd = NULL;
    struct lun_err err;
    const char *twice[] = {"a:1", "http://a:1", "b:1"};
    rpc_enter(rpc);
    CHECK(etcd_new(rpc, twice, 0, NULL, &etcd, &err) == LUN_EINVALID);
    CHECK(etcd_new(rpc, twice, ETCD_MAX_MEMBERS + 1, NULL, &etcd, &err) == LUN_EINVALID);
    CHECK(etcd_new(rpc, twice, 3, NULL, &etcd, &err) == 0 && etcd_n_members(etcd) == 2);
    CHECK(etcd_after(etcd, etcd_member_at(etcd, 1)) == etcd_member_at(etcd, 0));
    etcd_free(etcd);
    rpc_leave(rpc);
    fake_free(fake);
}

int main(void) {
    RUN(endpoints_are_host_and_port);
    RUN(there_is_at_least_one_endpoint_and_each_counts_once);
    return check_end();
}
