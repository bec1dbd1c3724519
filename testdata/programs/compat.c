/*
 * compat: calls getpid by its 32-bit number, through the 32-bit entry, which
 * 64-bit programs may use as well; the same number is writev for 64 bits. Prints what it
 * returned.
 */
#include "common.h"

int main(void)
{
	char line[32];
	long ret = 20;

	__asm__ volatile("int $0x80" : "+a"(ret) : : "memory", "r8", "r9", "r10", "r11");
	snprintf(line, sizeof(line), "pid %d\n", (int)ret);
	say(line);
	hear();
	return 0;
}
