/* Computes, and needs nobody.  The result is checked by a shorter way to it.
 *
 * Command line: instructions=<10000000>
 *
 * A linear congruential generator, x = x * A + C, is stepped four times a round.  Many steps together are a step with
 * another A and C, which squaring finds in a few dozen multiplications.
 */
#include "guest.h"

#define STEPS_PER_ROUND 4
#define INSTRUCTIONS_PER_ROUND (2 * STEPS_PER_ROUND + 2)
#define MULTIPLIER ((unsigned long)6364136223846793005ULL)
#define INCREMENT ((unsigned long)1442695040888963407ULL)

static unsigned long step_by_step(unsigned long x, unsigned long rounds) {
    __asm__ volatile("1:\timul %2, %0\n\tadd %3, %0\n\timul %2, %0\n\tadd %3, %0\n\t"
                     "imul %2, %0\n\tadd %3, %0\n\timul %2, %0\n\tadd %3, %0\n\tdec %1\n\tjnz 1b"
                     : "+r"(x), "+r"(rounds)
                     : "r"(MULTIPLIER), "r"(INCREMENT)
                     : "cc");
    return x;
}

static unsigned long at_once(unsigned long x, uint64_t steps) {
    unsigned long multiplier = MULTIPLIER, increment = INCREMENT;
    for (; steps; steps >>= 1) {
        if (steps & 1)
            x = x * multiplier + increment;
        increment *= multiplier + 1;
        multiplier *= multiplier;
    }
    return x;
}

int main(void) {
    uint64_t rounds = arg_number("instructions", 10000000) / INSTRUCTIONS_PER_ROUND;
    if (rounds == 0 || rounds > 0xFFFFFFFF)
        panic("instructions=%" PRIu64 ": 10 to 42949672950 are possible", rounds * INSTRUCTIONS_PER_ROUND);
    printf("compute: up\n");
    bench_start("compute");
    unsigned long result = step_by_step(1, (unsigned long)rounds);
    bench_stop("compute", (unsigned long)(rounds * INSTRUCTIONS_PER_ROUND));
    unsigned long expected = at_once(1, rounds * STEPS_PER_ROUND);
    check(result == expected, "%" PRIu64 " instructions lead to %lx, expected %lx", rounds * INSTRUCTIONS_PER_ROUND,
          result, expected);
    return checks_failed("compute");
}
