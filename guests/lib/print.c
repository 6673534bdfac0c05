/* printf.  A call is formatted whole before it is written, so a line from an upcall cannot split another. */
#include "print.h"

#include <stdbool.h>
#include <stdint.h>

#include "console.h"
#include "strings.h"

struct sink {
    char *buffer;
    size_t size, length; /* `length` counts on when the buffer is full: that is what vsnprintf returns */
};

struct spec {
    bool zero, left;
    unsigned int width;
};

static void put(struct sink *sink, char character) {
    if (sink->length + 1 < sink->size)
        sink->buffer[sink->length] = character;
    sink->length++;
}

static void put_padded(struct sink *sink, struct spec spec, const char *text, size_t length) {
    size_t padding = spec.width > length ? spec.width - length : 0;
    if (spec.zero && !spec.left && *text == '-' && length > 1) { /* the sign goes before the zeros */
        put(sink, *text++);
        length--;
    }
    for (; padding && !spec.left; padding--)
        put(sink, spec.zero ? '0' : ' ');
    while (length--)
        put(sink, *text++);
    for (; padding; padding--)
        put(sink, ' ');
}

static void put_number(struct sink *sink, struct spec spec, uint64_t value, bool hex, char ten, bool negative) {
    char digits[24];
    char *at = digits + sizeof digits;
    const unsigned int base = hex ? 16 : 10;
    do {
        unsigned int digit = (unsigned int)(value % base);
        *--at = (char)(digit < 10 ? '0' + digit : (unsigned int)ten + digit - 10);
        value /= base;
    } while (value);
    if (negative)
        *--at = '-';
    put_padded(sink, spec, at, (size_t)(digits + sizeof digits - at));
}

static uint64_t next_unsigned(va_list *arguments, unsigned int longs) {
    if (longs == 0)
        return va_arg(*arguments, unsigned int);
    return longs == 1 ? va_arg(*arguments, unsigned long) : va_arg(*arguments, unsigned long long);
}

static int64_t next_signed(va_list *arguments, unsigned int longs) {
    if (longs == 0)
        return va_arg(*arguments, int);
    return longs == 1 ? va_arg(*arguments, long) : va_arg(*arguments, long long);
}

/* One conversion; `at` is behind the '%'.  Returns what is behind the conversion. */
static const char *convert(struct sink *sink, const char *at, va_list *arguments) {
    struct spec spec = {0};
    unsigned int longs = 0;
    for (;; at++) {
        if (*at == '0')
            spec.zero = true;
        else if (*at == '-')
            spec.left = true;
        else
            break;
    }
    for (; *at >= '0' && *at <= '9'; at++)
        spec.width = spec.width * 10 + (unsigned int)(*at - '0');
    for (; *at == 'l' || *at == 'z'; at++)
        longs++; /* size_t is as long as a long in each guest kind */
    switch (*at) {
    case 'c': {
        char character = (char)va_arg(*arguments, int);
        put_padded(sink, spec, &character, 1);
        break;
    }
    case 's': {
        const char *text = va_arg(*arguments, const char *);
        text = text ? text : "(null)";
        spec.zero = false;
        put_padded(sink, spec, text, strlen(text));
        break;
    }
    case 'd':
    case 'i': {
        int64_t value = next_signed(arguments, longs);
        put_number(sink, spec, value < 0 ? -(uint64_t)value : (uint64_t)value, false, 'a', value < 0);
        break;
    }
    case 'u':
    case 'x':
    case 'X':
        put_number(sink, spec, next_unsigned(arguments, longs), *at != 'u', *at == 'X' ? 'A' : 'a', false);
        break;
    case 'p':
        put(sink, '0');
        put(sink, 'x');
        put_number(sink, spec, (uintptr_t)va_arg(*arguments, void *), true, 'a', false);
        break;
    case 0:
        return at; /* a '%' at the end */
    default:
        put(sink, *at);
    }
    return at + 1;
}

int vsnprintf(char *buffer, size_t size, const char *format, va_list arguments) {
    struct sink sink = {buffer, size, 0};
    va_list rest;
    va_copy(rest, arguments); /* a va_list that is a parameter cannot be passed on by address */
    while (*format) {
        if (*format == '%')
            format = convert(&sink, format + 1, &rest);
        else
            put(&sink, *format++);
    }
    va_end(rest);
    if (size)
        buffer[sink.length < size ? sink.length : size - 1] = 0;
    return (int)sink.length;
}

int snprintf(char *buffer, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(buffer, size, format, arguments);
    va_end(arguments);
    return length;
}

int vprintf(const char *format, va_list arguments) {
    char text[512];
    int length = vsnprintf(text, sizeof text, format, arguments);
    size_t written = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    console_write(text, written);
    return length;
}

int printf(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vprintf(format, arguments);
    va_end(arguments);
    return length;
}
