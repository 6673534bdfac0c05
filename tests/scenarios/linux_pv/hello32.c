/* A 32-bit program for Linux, without a library: writes a line and ends. */

static int system_call(int number, int first, const void *second, int third)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
    return result;
}

__attribute__((noreturn)) void _start(void)
{
    static const char line[] = "hello from 32 bits\n";

    system_call(4, 1, line, sizeof line - 1);
    for (;;)
        system_call(1, 0, 0, 0);
}
