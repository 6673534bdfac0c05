/* Plain loops; words where length allows, because the pages that guests share are copied with this. */
#include "strings.h"

#include <stdint.h>

#define WORD sizeof(unsigned long)
typedef unsigned long __attribute__((may_alias, aligned(1))) word_t;

void *memcpy(void *to, const void *from, size_t length) {
    char *d = to;
    const char *s = from;
    for (; length >= WORD; length -= WORD, d += WORD, s += WORD)
        *(word_t *)d = *(const word_t *)s;
    while (length--)
        *d++ = *s++;
    return to;
}

void *memmove(void *to, const void *from, size_t length) {
    char *d = to;
    const char *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= length)
        return memcpy(to, from, length);
    while (length--)
        d[length] = s[length];
    return to;
}

void *memset(void *to, int value, size_t length) {
    char *d = to;
    unsigned long pattern = ~0UL / 255 * (unsigned char)value;
    for (; length >= WORD; length -= WORD, d += WORD)
        *(word_t *)d = pattern;
    while (length--)
        *d++ = (char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t length) {
    const unsigned char *x = a, *y = b;
    for (; length--; x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *text) {
    const char *end = text;
    while (*end)
        end++;
    return (size_t)(end - text);
}

int strncmp(const char *a, const char *b, size_t length) {
    for (; length && *a && *a == *b; length--, a++, b++)
        ;
    return length ? (unsigned char)*a - (unsigned char)*b : 0;
}

int strcmp(const char *a, const char *b) {
    return strncmp(a, b, SIZE_MAX);
}

char *strchr(const char *text, int character) {
    for (;; text++) {
        if (*text == (char)character)
            return (char *)(uintptr_t)text;
        if (!*text)
            return 0;
    }
}
