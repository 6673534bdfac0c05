/* Calls hypercalls that were added for it, and says what they return.
 *
 * Command line: number=57 text=hello
 */
#include "guest.h"

int main(void) {
    unsigned int number = (unsigned int)arg_number("number", 57);
    char text[64] = "";
    const char *given = arg("text", "");
    for (unsigned int i = 0; given[i] && i < sizeof text - 1; i++)
        text[i] = given[i];
    printf("by the page: %ld\n", hypercall2(number, text, strlen(given)));
    printf("by the instruction: %ld\n", hypercall_raw(number, (unsigned long)text, strlen(given), 0, 0, 0));
    printf("a wild pointer: %ld\n", hypercall2(number, 0x7F0000000000, 5));
    printf("text: %s\n", text);
    return 0;
}
