/* An exception that cannot be delivered, twice over: the processor shuts down. */
#include "guest.h"

int main(void) {
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    printf("triple: no interrupt table from here on\n");
    __asm__ volatile("lidt %0; ud2" ::"m"(nothing));
    return 1;
}
