/* spec/unit/etcd/etcd_endpoints_test.c - addresses as people write them: what each becomes, and what is said of one that
 * is none. */
#include "etcd_world.h"

#include "etcd/endpoint.h"

static int parse(const char *text, struct endpoints *ret, struct lun_err *ret_err) {
    *ret_err = (struct lun_err){0};
    return endpoints_parse(&text, 1, ret, ret_err);
}

static void an_endpoint_is_written_in_several_ways(void) {
    static const struct {
        const char *text, *address;
        enum endpoint_scheme scheme;
    } rows[] = {
        {"127.0.0.1:2379", "127.0.0.1:2379", ENDPOINT_BARE},
        {"h:1", "h:1", ENDPOINT_BARE},
        {"h:65535", "h:65535", ENDPOINT_BARE},
        {"h:02379", "h:2379", ENDPOINT_BARE},
        {"my_host-1.example.:2379", "my_host-1.example.:2379", ENDPOINT_BARE},
        {"http://etcd-1.example:2379", "etcd-1.example:2379", ENDPOINT_HTTP},
        {"http://h:1/", "h:1", ENDPOINT_HTTP},
        {"HTTP://h:1", "h:1", ENDPOINT_HTTP},
        {"https://h:1", "h:1", ENDPOINT_HTTPS},
        {"HTTPS://H:1/", "H:1", ENDPOINT_HTTPS},
        {" \t https://h:1 \n", "h:1", ENDPOINT_HTTPS},
        {"[::1]:2379", "[::1]:2379", ENDPOINT_BARE},
        {"https://[::1]:2379/", "[::1]:2379", ENDPOINT_HTTPS},
        {"[0:0:0:0:0:0:0:1]:2379", "[::1]:2379", ENDPOINT_BARE},
        {"[FE80::0001%eth0]:2379", "[fe80::1%eth0]:2379", ENDPOINT_BARE},
        {"[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:1", ENDPOINT_BARE},
        {"unix:///run/etcd.sock", "unix:/run/etcd.sock", ENDPOINT_UNIX},
        {"unix:/run/etcd:0", "unix:/run/etcd:0", ENDPOINT_UNIX},
        {"UNIX:///run/etcd.sock", "unix:/run/etcd.sock", ENDPOINT_UNIX},
        {"h:1,", "h:1", ENDPOINT_BARE},
        {",, h:1 ,h:1 , http://h:1/", "h:1", ENDPOINT_HTTP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoints found;
        struct lun_err err;
        if (parse(rows[i].text, &found, &err)) {
            check_fail(__FILE__, __LINE__, rows[i].text);
            printf("# %s\n", err.text);
            continue;
        }
        CHECK_TEXT(found.items[0].address, rows[i].address);
        if (found.n != 1 || found.items[0].scheme != rows[i].scheme)
            check_fail(__FILE__, __LINE__, rows[i].text);
    }
}

static void an_endpoint_is_written_in_full(void) {
    static const char *const rows[][2] = {{"h:1", "h:1"},
                                          {"HTTP://h:1/", "http://h:1"},
                                          {" https://[0::1]:1", "https://[::1]:1"},
                                          {"unix:/x", "unix:///x"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoints found, again;
        struct lun_err err;
        char text[ENDPOINT_ADDRESS_BYTES + 8];
        CHECK(parse(rows[i][0], &found, &err) == 0);
        endpoint_write(&found.items[0], text, sizeof text);
        CHECK_TEXT(text, rows[i][1]);
        CHECK(parse(text, &again, &err) == 0 && again.items[0].scheme == found.items[0].scheme);
        CHECK_TEXT(again.items[0].address, found.items[0].address);
    }
}

static void one_that_is_none_is_quoted_with_the_reason(void) {
    static const struct {
        const char *text, *quoted, *why;
    } rows[] = {
        {"", "endpoints \"\"", "no endpoint in it"},
        {" , ,", "endpoints \" , ,\"", "no endpoint in it"},
        {"h", "endpoint \"h\"", "the port is missing"},
        {"http://h/", "endpoint \"http://h/\"", "the port is missing"},
        {"[::1]", "endpoint \"[::1]\"", "the port is missing"},
        {"h:", "endpoint \"h:\"", "from 1 to 65535"},
        {"h:0", "endpoint \"h:0\"", "from 1 to 65535"},
        {"h:65536", "endpoint \"h:65536\"", "from 1 to 65535"},
        {"h:123456", "endpoint \"h:123456\"", "from 1 to 65535"},
        {"h:1x", "endpoint \"h:1x\"", "from 1 to 65535"},
        {"h:-1", "endpoint \"h:-1\"", "from 1 to 65535"},
        {":1", "endpoint \":1\"", "the host is missing"},
        {"https://", "endpoint \"https://\"", "the port is missing"},
        {"::1:2379", "endpoint \"::1:2379\"", "IPv6 address is written in brackets"},
        {"[::zz]:1", "endpoint \"[::zz]:1\"", "no IPv6 address"},
        {"[]:1", "endpoint \"[]:1\"", "no IPv6 address"},
        {"[::1%]:1", "endpoint \"[::1%]:1\"", "no IPv6 address"},
        {"[::1%2/]:1", "endpoint \"[::1%2/]:1\"", "nothing may follow"},
        {"[::1:1", "endpoint \"[::1:1\"", "no host is written"},
        {"h:1/path", "endpoint \"h:1/path\"", "nothing may follow the port"},
        {"h h:1", "endpoint \"h h:1\"", "several are separated by commas"},
        {"h:1 i:2", "endpoint \"h:1 i:2\"", "several are separated by commas"},
        {"h:1;i:2", "endpoint \"h:1;i:2\"", "several are separated by commas"},
        {"srv://d e", "endpoint \"srv://d e\"", "no domain is written like this"},
        {"http:/h:1", "endpoint \"http:/h:1\"", "two slashes follow http: and https:"},
        {"HTTPS:h:1", "endpoint \"HTTPS:h:1\"", "two slashes follow http: and https:"},
        {"\xc3\xa4:1", "endpoint \"\xc3\xa4:1\"", "no host is written"},
        {"ftp://h:1", "endpoint \"ftp://h:1\"", "not reached by this scheme"},
        {"unixs:///run/etcd", "endpoint \"unixs:///run/etcd\"", "not reached by this scheme"},
        {"http://http://h:1", "endpoint \"http://http://h:1\"", "nothing may follow"},
        {"unix://x", "endpoint \"unix://x\"", "begins with /"},
        {"unix:///", "endpoint \"unix:///\"", "begins with /"},
        {"unix:", "endpoint \"unix:\"", "begins with /"},
        {"unix:/a b", "endpoint \"unix:/a b\"", "this character"},
        {"a:1, b , c:1", "endpoint \"b\"", "the port is missing"},
        {"http://root:geheim@h:1", "endpoint \"...@h:1\"", "options of their own"},
        {"https://root:gehe,im@h:1", "endpoint \"...\"", "from 1 to 65535"},
        {"root:geheim,@h:1", "endpoint \"...\"", "from 1 to 65535"},
        {"http://h:1, https://h:1", "endpoint h:1", "which is it?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoints found;
        struct lun_err err;
        int rc = parse(rows[i].text, &found, &err);
        if (rc != LUN_EINVALID || err.code != rc || !strstr(err.text, rows[i].quoted) ||
            !strstr(err.text, rows[i].why) || strstr(err.text, "gehe")) {
            check_fail(__FILE__, __LINE__, rows[i].text);
            printf("# %s\n", rc ? err.text : found.items[0].address);
        }
    }
}

static void what_is_too_long_is_refused_and_cut_short_in_the_message(void) {
    char text[400];
    struct endpoints found;
    struct lun_err err;
    memset(text, 'h', sizeof text);
    (void)snprintf(text + 260, sizeof text - 260, ":1");
    CHECK(parse(text, &found, &err) == LUN_EINVALID && strlen(err.text) < 300 &&
          strstr(err.text, "hhh...\""));
    (void)snprintf(text + 253, sizeof text - 253, ":65535");
    CHECK(parse(text, &found, &err) == 0 && strcmp(found.items[0].address, text) == 0);
    memcpy(text, "unix:/", 6);
    text[5 + 107] = '\0';
    CHECK(parse(text, &found, &err) == 0 && strcmp(found.items[0].address, text) == 0);
    text[5 + 107] = 'h';
    text[5 + 108] = '\0';
    CHECK(parse(text, &found, &err) == LUN_EINVALID && strstr(err.text, "at most 107 bytes"));
}

static void each_member_counts_once_in_the_order_given(void) {
    static const char *const texts[] = {"a:1,b:1", "http://a:1", "A:1", "c:1"};
    struct endpoints found;
    struct lun_err err;
    CHECK(endpoints_parse(texts, 4, &found, &err) == 0 && found.n == 3);
    CHECK_TEXT(found.items[1].address, "b:1");
    CHECK_TEXT(found.items[2].address, "c:1");
    char list[200] = "";
    for (int i = 1; i <= ENDPOINT_MAX + 1; i++) {
        CHECK((parse(list, &found, &err) == 0) == (i > 1));
        (void)snprintf(list + strlen(list), sizeof list - strlen(list), "h:%d,", i);
    }
    CHECK(parse(list, &found, &err) == LUN_EINVALID && strstr(err.text, "endpoints: more than 16"));
    CHECK(endpoints_parse(texts, 0, &found, &err) == LUN_EINVALID && strstr(err.text, "no endpoint"));
}

static void the_schemes_say_whether_tls_is_spoken(void) {
    static const struct {
        const char *text;
        bool has_options;
        const char *expected; /* "plain", "TLS", or a part of the error */
    } rows[] = {
        {"h:1", false, "plain"},
        {"http://h:1,i:1", false, "plain"},
        {"unix:/x,h:1", false, "plain"},
        {"h:1", true, "TLS"},
        {"https://h:1,i:1", false, "TLS"},
        {"https://h:1", true, "TLS"},
        {"http://h:1", true, "endpoint http://h:1 is plaintext, but TLS options are set"},
        {"unix:/x", true, "endpoint unix:/x is plaintext, but TLS options are set"},
        {"i:1,https://h:1,http://j:1", true,
         "endpoints http://j:1 and https://h:1: one is plaintext and one is TLS: use "
         "http:// for all members or https:// for all"},
        {"https://h:1,unix:/x", false, "endpoints unix:/x and https://h:1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoints found;
        struct lun_err err;
        bool is_tls = false;
        CHECK(parse(rows[i].text, &found, &err) == 0);
        int rc = endpoints_want_tls(&found, rows[i].has_options, &is_tls, &err);
        const char *got = rc ? err.text : is_tls ? "TLS" : "plain";
        if (!strstr(got, rows[i].expected)) {
            check_fail(__FILE__, __LINE__, rows[i].text);
            printf("# %s\n", got);
        }
    }
}

static void whose_address_it_is_can_be_seen(void) {
    static const struct {
        const char *text;
        enum endpoint_place place;
    } rows[] = {{"h:1", ENDPOINT_REMOTE},
                {"10.0.0.1:1", ENDPOINT_REMOTE},
                {"[2001:db8::1]:1", ENDPOINT_REMOTE},
                {"[fe80::1%eth0]:1", ENDPOINT_REMOTE},
                {"mylocalhost:1", ENDPOINT_REMOTE},
                {"localhost.example:1", ENDPOINT_REMOTE},
                {"LocalHost:1", ENDPOINT_LOCAL},
                {"a.localhost:1", ENDPOINT_LOCAL},
                {"localhost.:1", ENDPOINT_LOCAL},
                {"127.9.9.9:1", ENDPOINT_LOCAL},
                {"127.1:1", ENDPOINT_LOCAL},
                {"[::1]:1", ENDPOINT_LOCAL},
                {"[::ffff:127.0.0.1]:1", ENDPOINT_LOCAL},
                {"unix:/x", ENDPOINT_LOCAL},
                {"0.0.0.0:1", ENDPOINT_NOWHERE},
                {"0:1", ENDPOINT_NOWHERE},
                {"[::]:1", ENDPOINT_NOWHERE},
                {"[::ffff:0.0.0.0]:1", ENDPOINT_NOWHERE}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct endpoints found;
        struct lun_err err;
        REQUIRE(parse(rows[i].text, &found, &err) == 0);
        if (endpoint_place(&found.items[0]) != rows[i].place)
            check_fail(__FILE__, __LINE__, rows[i].text);
    }
}

static void a_cluster_asks_what_the_endpoints_say(void) {
    struct fake *fake = fake_new();
    struct rpc *rpc = fake_rpc(fake);
    struct etcd *etcd = NULL;
    struct lun_err err;
    const char *twice[] = {"a:1", "http://a:1, b:1"}, *wrong[] = {"a:1", "b"};
    rpc_enter(rpc);
    CHECK(etcd_new(rpc, wrong, 2, NULL, &etcd, &err) == LUN_EINVALID && strstr(err.text, "endpoint \"b\""));
    CHECK(etcd_new(rpc, twice, 2, NULL, &etcd, &err) == 0 && etcd_n_members(etcd) == 2);
    CHECK_TEXT(etcd_member_address(etcd_member_at(etcd, 1)), "b:1");
    CHECK(etcd_after(etcd, etcd_member_at(etcd, 1)) == etcd_member_at(etcd, 0));
    etcd_free(etcd);
    rpc_leave(rpc);
    fake_free(fake);
}

int main(void) {
    RUN(an_endpoint_is_written_in_several_ways);
    RUN(an_endpoint_is_written_in_full);
    RUN(one_that_is_none_is_quoted_with_the_reason);
    RUN(what_is_too_long_is_refused_and_cut_short_in_the_message);
    RUN(each_member_counts_once_in_the_order_given);
    RUN(the_schemes_say_whether_tls_is_spoken);
    RUN(whose_address_it_is_can_be_seen);
    RUN(a_cluster_asks_what_the_endpoints_say);
    return check_end();
}
