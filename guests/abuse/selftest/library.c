/* The support library itself, so that a failure elsewhere is not its own. */
#include "selftest.h"

#define MANY_GRANTS 1200 /* more than two frames of them */

static void test_printf(void) {
    char text[128];
    static const char expected[] = "a|  7|007|-7  |-07|ff|FF|00000000deadbeef|18446744073709551615|-5|x  |(null)|%";
    snprintf(text, sizeof text, "%c|%3d|%03u|%-4d|%03d|%x|%X|%016lx|%llu|%ld|%-3s|%s|%%", 'a', 7, 7U, -7, -7, 255U,
             255U, 0xDEADBEEFUL, ~0ULL, -5L, "x", (const char *)0);
    check(!strcmp(text, expected), "printf: %s", text);
    int length = snprintf(text, 4, "%s", "abcdef");
    check(length == 6 && !strcmp(text, "abc"), "what does not fit is cut off: %d '%s'", length, text);
}

static void test_strings(void) {
    char buffer[] = "0123456789";
    memmove(buffer + 2, buffer, 8);
    check(!strcmp(buffer, "0101234567"), "memmove upwards: %s", buffer);
    memmove(buffer, buffer + 2, 8);
    check(!strcmp(buffer, "0123456767"), "memmove downwards: %s", buffer);
    check(strcmp("ab", "abc") < 0 && strncmp("abx", "aby", 2) == 0 && strchr("key=value", '=')[1] == 'v', "comparing");
}

static void test_pages(void) {
    size_t before = pages_left();
    uint8_t *page = page_alloc();
    page[5] = 1;
    page_free(page);
    uint8_t *again = page_alloc();
    check(again == page && again[5] == 0, "a page that is used again is empty");
    page_free(again);
    check(pages_left() == before, "no page is lost: %zu", before);
}

static void test_grants(void) {
    static uint32_t refs[MANY_GRANTS];
    void *page = page_alloc();
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < MANY_GRANTS; i++) {
        refs[i] = grant_access((uint16_t)hypervisor.domid, page, false);
        wrong += grant_table()[refs[i]].flags != GTF_permit_access;
    }
    struct grant_mapping mapping;
    int status = grant_map((uint16_t)hypervisor.domid, refs[MANY_GRANTS - 1], 0, &mapping);
    check(!wrong && status == GNTST_okay, "%u grants in %u entries; the last one, %u, is mapped: %s", MANY_GRANTS,
          grant_table_entries(), refs[MANY_GRANTS - 1], gntst_name(status));
    if (status == GNTST_okay) {
        *(volatile uint8_t *)mapping.address = 0x77;
        check(*(volatile uint8_t *)page == 0x77, "it is the same memory");
        check(!grant_end(refs[MANY_GRANTS - 1]) && grant_unmap(&mapping) == GNTST_okay, "mapped, it cannot be ended");
    }
    for (unsigned int i = 0; i < MANY_GRANTS; i++)
        wrong += !grant_end(refs[i]);
    check(!wrong && grant_access(0, page, true) == refs[MANY_GRANTS - 1], "ended references are used again");
}

void test_library(void) {
    test_printf();
    test_strings();
    test_pages();
    test_grants();
}
