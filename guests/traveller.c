/* Writes all of its memory again and again, and finds every word that it wrote before: for domains that are moved.
 *
 * Command line: laps=<100> leave=<pages that are left alone, default 64> pause=<microseconds after each 64 pages, 0>
 *     rest=<milliseconds after each lap, 0>
 *
 * In each lap it also reads the clock, which must not have gone back.
 */
#include "guest.h"

#define WORDS (PAGE_SIZE / sizeof(uint64_t))
#define BATCH 64

int main(void) {
    uint64_t laps = arg_number("laps", 100), pause = arg_number("pause", 0), rest = arg_number("rest", 0), wrong = 0;
    size_t pages = pages_left() - (size_t)arg_number("leave", 64);
    uint64_t *memory = pages_alloc(pages), last = monotonic_ns();
    printf("traveller: %zu KiB\n", pages * (PAGE_SIZE / 1024));
    for (uint64_t lap = 1; lap <= laps; lap++) {
        for (size_t page = 0; page < pages; page++) {
            uint64_t *words = memory + page * WORDS, before = lap == 1 ? 0 : (lap - 1) << 32 | page;
            for (size_t i = 0; i < WORDS; i++) {
                wrong += words[i] != before;
                words[i] = lap << 32 | page;
            }
            if (pause && page % BATCH == BATCH - 1)
                sleep_ns(pause * 1000);
        }
        uint64_t now = monotonic_ns();
        wrong += now <= last;
        last = now;
        if (rest)
            sleep_ns(rest * MILLISECOND);
    }
    check(wrong == 0, "%" PRIu64 " laps, %" PRIu64 " times something else than was written", laps, wrong);
    return checks_failed("traveller");
}
