/* What the course asks of a first kernel: it starts, finds Xen, and uses what Xen gives it. */
#include "introduce.h"

int main(void) {
    printf("control came to the kernel\n");
    show_xen();
    show_time();
    sleep_ns(1 * SECOND);
    show_time();
    call_added_hypercall("first_steps");
    printf("powering off\n");
    return 0;
}
