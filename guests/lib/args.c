/* The command line is copied once and cut into words in place. */
#include "args.h"

#include "panic.h"
#include "strings.h"

#define MAX_WORDS 64

static char line[1024];
static char *words[MAX_WORDS];
static unsigned int count;

void args_init(const char *command_line) {
    size_t length = strlen(command_line);
    if (length >= sizeof line)
        length = sizeof line - 1;
    memcpy(line, command_line, length);
    for (char *at = line; *at && count < MAX_WORDS;) {
        if (*at == ' ') {
            *at++ = 0;
            continue;
        }
        words[count++] = at;
        while (*at && *at != ' ')
            at++;
    }
}

const char *arg(const char *name, const char *fallback) {
    size_t length = strlen(name);
    for (unsigned int i = 0; i < count; i++) {
        if (strncmp(words[i], name, length))
            continue;
        if (words[i][length] == '=')
            return words[i] + length + 1;
        if (!words[i][length])
            return "";
    }
    return fallback;
}

bool arg_is(const char *name, const char *value, const char *fallback) {
    return !strcmp(arg(name, fallback), value);
}

static int digit(char character) {
    if (character >= '0' && character <= '9')
        return character - '0';
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : 16;
}

uint64_t arg_number(const char *name, uint64_t fallback) {
    const char *text = arg(name, 0);
    if (!text)
        return fallback;
    int base = 10;
    const char *at = text;
    if (at[0] == '0' && at[1] == 'x') {
        base = 16;
        at += 2;
    }
    uint64_t value = 0;
    if (!*at)
        panic("command line: %s wants a number", name);
    for (; *at; at++) {
        if (digit(*at) >= base)
            panic("command line: %s wants a number, got '%s'", name, text);
        value = value * (unsigned int)base + (unsigned int)digit(*at);
    }
    return value;
}

uint16_t arg_domid(const char *name) {
    uint64_t value = arg_number(name, ~0ULL);
    if (value == ~0ULL)
        panic("command line: %s=<domid> is needed", name);
    if (value > 0x7FFF)
        panic("command line: %s=%" __UINT64_FMTu__ " is not a domid", name, value);
    return (uint16_t)value;
}
