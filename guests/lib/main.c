/* From the kind's entry code to the program, and back to Xen. */
#include "guest.h"
#include "kind.h"

_Noreturn void guest_main(const char *command_line) {
    args_init(command_line);
    shared_info_init();
    console_init();
    events_init();
    irq_enable();
    int result = main();
    if (result != 0) {
        printf("main() returned %d\n", result);
        shutdown(SHUTDOWN_crash);
    }
    shutdown(SHUTDOWN_poweroff);
}
