/* spec/unit/recipe/place_name_test.c - what is said of a key that others wait behind. */
#include "recipe/place.h"

#include "check.h"

#define WEB "{\"name\":\"web-2\",\"host\":\"web-2\",\"pid\":4711}"

static const struct {
    const char *key, *value;
    int64_t lease;
    const char *text, *obstacle;
} cases[] = {
    {"/jobs/1a2b", WEB, 0x1a2b, "locked by web-2 (pid 4711)", ""},
    {"/jobs/1a2b", "{\"name\":\"w\",\"host\":\"h\",\"pid\":7}", 0x1a2b, "locked by w on h (pid 7)", ""},
    {"/jobs/1a2b-0123456789abcdef", "A", 0x1a2b, "held by A (key /jobs/1a2b-0123456789abcdef)", ""},
    {"/jobs/~1a2b", "A", 0x1a2b, "held by A (key /jobs/~1a2b)", ""},
    {"/jobs/1a2b", "", 0x1a2b, "locked by the key /jobs/1a2b of lease 0000000000001a2b", ""},
    {"/jobs/config", "x=1", 0,
     "blocked by the key /jobs/config, which is bound to no lease: it stays until it is deleted",
     "blocked by the key /jobs/config, which is bound to no lease: it stays until it is deleted"},
    {"/jobs/", "", 0, "blocked by the key /jobs/, which is bound to no lease: it stays until it is deleted",
     "blocked by the key /jobs/, which is bound to no lease: it stays until it is deleted"},
    {"/jobs/a/b/config", WEB, 0,
     "blocked by the key /jobs/a/b/config, which is bound to no lease: it stays until it is deleted",
     "blocked by the key /jobs/a/b/config, which is bound to no lease: it stays until it is deleted"},
    {"/jobs/web-1", "10.0.0.1:80", 0x1a2b,
     "blocked by the key /jobs/web-1 of lease 0000000000001a2b, which is no lock's and no candidate's",
     "blocked by the key /jobs/web-1 of lease 0000000000001a2b, which is no lock's and no candidate's"},
    {"/jobs/nightly/1a2b", WEB, 0x1a2b,
     "blocked by /jobs/nightly, whose name lies below this one: locked by web-2 (pid 4711)",
     "blocked by /jobs/nightly, whose name lies below this one"},
    {"/jobs/nightly/eu/1a2b", "A", 0x1a2b,
     "blocked by /jobs/nightly/eu, whose name lies below this one: held by A (key /jobs/nightly/eu/1a2b)",
     "blocked by /jobs/nightly/eu, whose name lies below this one"},
    {"/jobs/\x01\x02", "x", 0,
     "blocked by the key /jobs/\?\?, which is bound to no lease: it stays until it is deleted",
     "blocked by the key /jobs/\?\?, which is bound to no lease: it stays until it is deleted"},
};

static void each_kind_of_key_in_a_line_is_named_for_what_it_is(void) {
    struct lun_bytes prefix = lun_bytes_of("/jobs/");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lun_kv kv = {.key = lun_bytes_of(cases[i].key),
                            .value = lun_bytes_of(cases[i].value),
                            .lease = cases[i].lease};
        struct bytes text, obstacle;
        REQUIRE(place_describe(&text, prefix, &kv) == 0);
        CHECK_TEXT(text.data, cases[i].text);
        bytes_fini(&text);
        kv.value.len = 0; /* reads of those before us carry keys alone */
        REQUIRE(place_describe_obstacle(&obstacle, prefix, &kv) == 0);
        CHECK_TEXT(obstacle.data ? obstacle.data : "", cases[i].obstacle);
        bytes_fini(&obstacle);
    }
}

int main(void) {
    RUN(each_kind_of_key_in_a_line_is_named_for_what_it_is);
    return check_end();
}
