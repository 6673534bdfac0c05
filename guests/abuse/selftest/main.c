/* Is this processor one?  Exceptions, interrupts, privilege, CPUID and MSRs, as a kernel meets them.
 *
 * Targets: pvh64
 * Command line: only=library|processor|exceptions|double|interrupts|apic|ring3
 */
#include "selftest.h"

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"library", test_library},       {"processor", test_processor},   {"exceptions", test_exceptions},
    {"double", test_double_faults},  {"interrupts", test_interrupts}, {"apic", test_apic},
    {"ring3", test_ring3},
};

int main(void) {
    for (unsigned int i = 0; i < sizeof parts / sizeof *parts; i++)
        if (arg_is("only", parts[i].name, parts[i].name))
            parts[i].run();
    return checks_failed("selftest");
}
