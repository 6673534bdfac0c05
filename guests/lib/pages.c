/* Freed pages form a list through their first word; new ones come from the end of what was ever used. */
#include "pages.h"

#include "panic.h"
#include "strings.h"

struct free_page {
    struct free_page *next;
};

static uintptr_t next_page, end_of_memory;
static struct free_page *freed;
static size_t freed_count;

void pages_init(uintptr_t start, uintptr_t end) {
    next_page = (start + PAGE_SIZE - 1) & PAGE_MASK;
    end_of_memory = end & PAGE_MASK;
}

size_t pages_left(void) {
    return freed_count + (end_of_memory - next_page) / PAGE_SIZE;
}

void *pages_alloc(size_t count) {
    if (count > (end_of_memory - next_page) / PAGE_SIZE)
        panic("out of memory: %zu pages in a row are wanted, %zu left", count, pages_left());
    void *pages = (void *)next_page;
    next_page += count * PAGE_SIZE;
    return memset(pages, 0, count * PAGE_SIZE);
}

void *page_alloc(void) {
    if (!freed)
        return pages_alloc(1);
    struct free_page *page = freed;
    freed = page->next;
    freed_count--;
    return memset(page, 0, PAGE_SIZE);
}

void page_free(void *page) {
    struct free_page *first = page;
    first->next = freed;
    freed = first;
    freed_count++;
}
