/* Atomic operations on words that Xen or another domain also writes. */
#pragma once
#include <stdbool.h>

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))

#define xchg(pointer, value) __atomic_exchange_n(pointer, value, __ATOMIC_SEQ_CST)

/* Store `desired` if *pointer is *expected; else put what is there into *expected and return false. */
#define cmpxchg(pointer, expected, desired) \
    __atomic_compare_exchange_n(pointer, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* x86 keeps the order of stores and of loads by itself, so only the compiler has to be held back... */
#define barrier() __asm__ volatile("" ::: "memory")
/* ...except that a load may overtake an earlier store. */
#define full_barrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)

static inline bool test_bit(const unsigned long *bits, unsigned int n) {
    const unsigned int width = 8 * sizeof(long);
    return READ_ONCE(bits[n / width]) >> (n % width) & 1;
}

static inline void set_bit(unsigned long *bits, unsigned int n) {
    const unsigned int width = 8 * sizeof(long);
    __atomic_fetch_or(&bits[n / width], 1UL << (n % width), __ATOMIC_SEQ_CST);
}

static inline void clear_bit(unsigned long *bits, unsigned int n) {
    const unsigned int width = 8 * sizeof(long);
    __atomic_fetch_and(&bits[n / width], ~(1UL << (n % width)), __ATOMIC_SEQ_CST);
}
