/* Never gives the processor away, with interrupts off.
 *
 * Command line: for=<milliseconds, default: for ever>
 */
#include "guest.h"

int main(void) {
    uint64_t duration = arg_number("for", 0) * MILLISECOND, start = monotonic_ns();
    printf("spin: from now on this vCPU is busy\n");
    irq_disable();
    while (!duration || monotonic_ns() - start < duration) {
        for (volatile unsigned int i = 0; i < 100000; i++)
            ;
    }
    irq_enable();
    printf("spin: done\n");
    return 0;
}
