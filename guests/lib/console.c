/* The three consoles.  Before console_init() text goes to the debug port, which needs nothing. */
#include "console.h"

#include <stdint.h>

#include "arch.h"
#include "args.h"
#include "atomic.h"
#include "events.h"
#include "hypercalls.h"
#include "kind.h"
#include "panic.h"
#include "print.h"
#include "strings.h"

#define DEBUG_PORT 0xE9

static struct xencons_interface *ring;
static uint32_t ring_port;
static void (*write_chosen)(const char *text, size_t length) = console_write_port;

void console_init(void) {
    if (!kind_console(&ring, &ring_port))
        ring = 0;
    const char *choice = arg("console", ring ? "ring" : "io");
    if (!strcmp(choice, "ring") && ring)
        write_chosen = console_write_ring;
    else if (!strcmp(choice, "io"))
        write_chosen = console_write_io;
    else if (strcmp(choice, "port"))
        panic("console=%s: ring (if the domain has one), io and port are known", choice);
}

void console_write(const char *text, size_t length) {
    write_chosen(text, length);
}

/* An upcall may print too, so a piece is copied with interrupts off. */
static size_t copy_out(const char *text, size_t length) {
    unsigned long flags = irq_save();
    uint32_t producer = ring->out_prod;
    size_t copied = 0;
    while (copied < length && producer - READ_ONCE(ring->out_cons) < sizeof ring->out)
        ring->out[producer++ % sizeof ring->out] = text[copied++];
    barrier();
    WRITE_ONCE(ring->out_prod, producer);
    irq_restore(flags);
    return copied;
}

void console_write_ring(const char *text, size_t length) {
    while (length) {
        size_t copied = copy_out(text, length);
        text += copied;
        length -= copied;
        event_notify(ring_port);
        if (length)
            sched_yield(); /* full: the back end has to read first */
    }
}

size_t console_read(char *buffer, size_t size) {
    if (!ring)
        return 0;
    uint32_t consumer = ring->in_cons;
    size_t copied = 0;
    while (copied < size && consumer != READ_ONCE(ring->in_prod))
        buffer[copied++] = ring->in[consumer++ % sizeof ring->in];
    full_barrier(); /* the text has been read before the place is given back */
    WRITE_ONCE(ring->in_cons, consumer);
    if (copied)
        event_notify(ring_port);
    return copied;
}

void console_write_io(const char *text, size_t length) {
    hypercall_console_io(CONSOLEIO_write, (int)length, text);
}

void console_write_port(const char *text, size_t length) {
    while (length--)
        port_write8(DEBUG_PORT, (uint8_t)*text++);
}

static void bench_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void bench_line(const char *format, ...) {
    char text[96];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    console_write_io(text, (size_t)length);
}

void bench_start(const char *test) {
    bench_line("BENCH start %s\n", test);
}

void bench_stop(const char *test, unsigned long operations) {
    bench_line("BENCH stop %s ops=%lu\n", test, operations);
}
