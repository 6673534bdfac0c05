/* Switches the domain off, or starts it anew, by what its ACPI tables say.
 *
 * Command line: how=off|reset|nearly
 */
#include "guest.h"
#include "abi/memory.h"

#define E820_ACPI 3
#define FADT_RESET_REGISTER 116
#define FADT_RESET_VALUE 128
#define FADT_SLEEP_CONTROL 244
#define REGISTER_ADDRESS 4 /* in a generic address structure */
#define SLP_EN (1 << 5)
#define SLP_TYP_1 (1 << 2)

struct entry {
    uint64_t address, size;
    uint32_t type;
} __attribute__((packed));

static uint64_t number(uintptr_t address, unsigned int size) {
    uint64_t value = 0;
    memcpy(&value, (const void *)address, size);
    return value;
}

static uintptr_t tables(void) {
    static struct entry entries[16];
    struct {
        uint32_t count;
        void *buffer;
    } map = {16, entries};
    if (hypercall_memory_op(XENMEM_memory_map, &map))
        panic("no memory map");
    for (uint32_t i = 0; i < map.count; i++)
        if (entries[i].type == E820_ACPI)
            return entries[i].address;
    panic("no ACPI tables in the memory map");
}

static uintptr_t fadt(void) {
    uintptr_t rsdp = tables();
    if (number(rsdp, 8) != 0x2052545020445352) /* "RSD PTR " */
        panic("no root pointer at %lx", rsdp);
    uintptr_t xsdt = number(rsdp + 24, 8), end = xsdt + number(xsdt + 4, 4);
    for (uintptr_t entry = xsdt + 36; entry < end; entry += 8)
        if (number(number(entry, 8), 4) == 0x50434146) /* "FACP" */
            return number(entry, 8);
    panic("no FADT");
}

int main(void) {
    uintptr_t table = fadt();
    uint16_t reset = (uint16_t)number(table + FADT_RESET_REGISTER + REGISTER_ADDRESS, 8);
    uint16_t control = (uint16_t)number(table + FADT_SLEEP_CONTROL + REGISTER_ADDRESS, 8);
    printf("sleep control %x, reset %x\n", control, reset);
    if (arg_is("how", "reset", "off"))
        port_write8(reset, (uint8_t)number(table + FADT_RESET_VALUE, 1));
    else if (arg_is("how", "off", "off"))
        port_write8(control, SLP_EN);
    port_write8(control, SLP_EN | SLP_TYP_1); /* no state that _S5 names */
    port_write8(control, 0);
    port_write8(reset, 0);
    printf("still there, status %x\n", port_read8(control));
    return 1;
}
