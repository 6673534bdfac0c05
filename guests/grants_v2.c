/* Three domains with grant tables of version 2: a writer shares a page, and parts of another one, with a reader; a part
 * goes to a domain between them, which passes it on without seeing it.
 *
 * Command line: role=writer|between|reader writer=<domid> between=<domid> reader=<domid>
 */
#include "grants_v2.h"
#include "guest.h"
#include "share.h"

#define RETRY (1 * MILLISECOND)

enum reference { BOARD_FOR_READER = 40, BOARD_FOR_BETWEEN, WHOLE, PART, PART_TO_PASS_ON, PASSED_ON };
enum place { PART_AT = 256, PART_SIZE = 512, OTHER_AT = 2048, OTHER_SIZE = 64 };
enum step { MAPPED = 1, COPIED, LEFT };

/* A page of the writer's that all three see, on which each says how far it is. */
struct board {
    uint32_t reader, between, writer;
};

static uint16_t writer, between, reader;

static void await(const uint32_t *word, uint32_t step) {
    uint64_t limit = monotonic_ns() + arg_number("wait", 30) * SECOND;
    while (READ_ONCE(*word) < step) {
        if (monotonic_ns() >= limit)
            panic("step %u has not come", step);
        sleep_ns(RETRY);
    }
}

static struct grant_mapping map(uint16_t domain, uint32_t ref, uint32_t flags) {
    uint64_t limit = monotonic_ns() + arg_number("wait", 30) * SECOND;
    struct grant_mapping mapping;
    int status;
    while ((status = grant_map(domain, ref, flags, &mapping)) != GNTST_okay) {
        if (monotonic_ns() >= limit)
            panic("domain %u does not grant reference %u: %s", domain, ref, gntst_name(status));
        sleep_ns(RETRY);
    }
    return mapping;
}

static void check_status(int status, int expected, const char *what) {
    check(status == expected, "%s: %s", what, gntst_name(status));
}

static void refuse_map(uint16_t domain, uint32_t ref, const char *what) {
    struct grant_mapping mapping;
    check_status(grant_map(domain, ref, GNTMAP_readonly, &mapping), GNTST_general_error, what);
}

static void write(void) {
    struct board *board = page_alloc();
    unsigned char *whole = page_alloc(), *parts = page_alloc();
    fill_page(whole, FROM_WRITER, 0);
    fill_page(parts, FROM_WRITER, 1);
    grant_v2_page(WHOLE, reader, whole, true);
    grant_v2_part(PART, reader, parts + PART_AT, PART_SIZE, false);
    grant_v2_part(PART_TO_PASS_ON, between, parts + OTHER_AT, OTHER_SIZE, true);
    grant_v2_page(BOARD_FOR_BETWEEN, between, board, false);
    grant_v2_page(BOARD_FOR_READER, reader, board, false);
    await(&board->reader, MAPPED);
    check(grant_v2_use(WHOLE) == GTF_reading, "the page is in use for reading: status 0x%x", grant_v2_use(WHOLE));
    check(grant_v2_use(BOARD_FOR_READER) == (GTF_reading | GTF_writing), "and the board for writing: status 0x%x",
          grant_v2_use(BOARD_FOR_READER));
    check(!grant_v2_end(WHOLE), "what is mapped cannot be taken back");
    WRITE_ONCE(board->writer, MAPPED);
    await(&board->reader, COPIED);
    unsigned int wrong = 0;
    for (unsigned int i = 0; i < PAGE_SIZE; i++) {
        bool inside = i >= PART_AT && i < PART_AT + PART_SIZE;
        wrong += parts[i] != pattern(inside ? FROM_READER : FROM_WRITER, inside ? 0 : 1, i);
    }
    check(wrong == 0, "the reader wrote its part of a page and no more: %u bytes wrong", wrong);
    check(!grant_v2_use(PART) && !grant_v2_use(PART_TO_PASS_ON), "a copy leaves nothing in use");
    while (grant_v2_use(BOARD_FOR_READER) || grant_v2_use(BOARD_FOR_BETWEEN) || grant_v2_use(WHOLE))
        sleep_ns(RETRY);
    unsigned int kept = 0;
    for (uint32_t ref = BOARD_FOR_READER; ref <= PART_TO_PASS_ON; ref++)
        kept += !grant_v2_end(ref);
    check(kept == 0, "all references are taken back, %u are not", kept);
}

static void pass_on(void) {
    struct grant_mapping mapping = map(writer, BOARD_FOR_BETWEEN, 0);
    struct board *board = mapping.address;
    grant_v2_pass_on(PASSED_ON, reader, writer, PART_TO_PASS_ON, true);
    WRITE_ONCE(board->between, MAPPED);
    await(&board->reader, COPIED);
    check(!grant_v2_use(PASSED_ON), "what was passed on is not in use");
    check(grant_v2_end(PASSED_ON), "and is taken back");
    WRITE_ONCE(board->between, LEFT);
    grant_unmap(&mapping);
}

static void copy_parts(void) {
    unsigned char *page = page_alloc();
    unsigned int wrong = 0;
    check_status(grant_copy_from(page + 100, writer, PART, PART_AT, PART_SIZE), GNTST_okay, "copy a part of a page");
    for (unsigned int i = 0; i < PART_SIZE; i++)
        wrong += page[100 + i] != pattern(FROM_WRITER, 1, PART_AT + i);
    check(wrong == 0, "%u bytes came, %u wrong", PART_SIZE, wrong);
    check_status(grant_copy_from(page, writer, PART, PART_AT - 1, 2), GNTST_general_error, "a byte before it");
    check_status(grant_copy_from(page, writer, PART, PART_AT, PART_SIZE + 1), GNTST_general_error, "a byte after it");
    refuse_map(writer, PART, "map a part of a page");
    fill_page(page, FROM_READER, 0);
    check_status(grant_copy_to(writer, PART, PART_AT, page + PART_AT, PART_SIZE), GNTST_okay, "copy into it");
    check_status(grant_copy_to(writer, WHOLE, 0, page, 1), GNTST_general_error, "copy into a page to read");
    page_free(page);
}

static void copy_passed_on(void) {
    unsigned char *page = page_alloc();
    unsigned int wrong = 0;
    check_status(grant_copy_from(page, between, PASSED_ON, OTHER_AT, OTHER_SIZE), GNTST_okay, "copy what is passed on");
    for (unsigned int i = 0; i < OTHER_SIZE; i++)
        wrong += page[i] != pattern(FROM_WRITER, 1, OTHER_AT + i);
    check(wrong == 0, "%u bytes came through domain %u, %u wrong", OTHER_SIZE, between, wrong);
    check_status(grant_copy_from(page, between, PASSED_ON, OTHER_AT, OTHER_SIZE + 1), GNTST_general_error, "and no more");
    check_status(grant_copy_to(between, PASSED_ON, OTHER_AT, page, 1), GNTST_general_error, "nor into it");
    check_status(grant_copy_from(page, writer, PART_TO_PASS_ON, OTHER_AT, 1), GNTST_general_error, "nor round about");
    refuse_map(between, PASSED_ON, "map what is passed on");
    page_free(page);
}

static void read(void) {
    struct grant_mapping mapping = map(writer, BOARD_FOR_READER, 0), whole = map(writer, WHOLE, GNTMAP_readonly);
    struct board *board = mapping.address;
    check(wrong_bytes(whole.address, FROM_WRITER, 0) == 0, "the writer's page: %lu bytes, none wrong", PAGE_SIZE);
    WRITE_ONCE(board->reader, MAPPED);
    await(&board->writer, MAPPED);
    await(&board->between, MAPPED);
    copy_parts();
    copy_passed_on();
    WRITE_ONCE(board->reader, COPIED);
    await(&board->between, LEFT);
    grant_unmap(&whole);
    grant_unmap(&mapping);
}

int main(void) {
    const char *role = arg("role", "");
    writer = arg_domid("writer"), between = arg_domid("between"), reader = arg_domid("reader");
    grant_v2_begin();
    if (!strcmp(role, "writer"))
        write();
    else if (!strcmp(role, "between"))
        pass_on();
    else if (!strcmp(role, "reader"))
        read();
    else
        panic("role=%s: writer, between or reader", role);
    return checks_failed(role);
}
