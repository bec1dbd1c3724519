// Calls by the 32-bit entry from 64-bit code: numbers and structures are those of i386.
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int call(int nr, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e)
{
	__asm__ volatile("int $0x80" : "+a"(nr) : "b"(a), "c"(b), "d"(c), "S"(d), "D"(e) : "memory", "r8", "r9", "r10", "r11");
	return nr;
}

int main(void)
{
	/* What 32-bit calls are to reach must lie low. */
	char *low = mmap((void *)0x10000000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	uint32_t at = 0x10000000, *words = (void *)(low + 1024);

	call(20, 0, 0, 0, 0, 0);			/* getpid */
	strcpy(low, "int80.out");
	int fd = call(5, at, 0102, 0644, 0, 0);		/* open */
	call(4, fd, at, 9, 0, 0);			/* write */
	words[0] = at; words[1] = 5; words[2] = at + 2; words[3] = 3;
	call(146, fd, at + 1024, 2, 0, 0);		/* writev */
	call(19, fd, 0, 0, 0, 0);			/* lseek */
	call(3, fd, at + 2048, 100, 0, 0);		/* read */
	call(197, fd, at + 2048, 0, 0, 0);		/* fstat64 */
	call(195, at, at + 2048, 0, 0, 0);		/* stat64 */
	call(106, at, at + 2048, 0, 0, 0);		/* stat */
	words[0] = 0; words[1] = 1000;
	call(162, at + 1024, 0, 0, 0, 0);		/* nanosleep */
	call(265, 1, at + 1024, 0, 0, 0);		/* clock_gettime */
	call(78, at + 1024, 0, 0, 0, 0);		/* gettimeofday */
	call(174, 10, 0, at + 1024, 8, 0);		/* rt_sigaction */
	call(191, 7, at + 1024, 0, 0, 0);		/* ugetrlimit */
	call(10, at, 0, 0, 0, 0);			/* unlink */
	call(6, fd, 0, 0, 0, 0);			/* close */
	call(5, at, 0, 0, 0, 0);
	call(600, 1, 2, 3, 4, 5);
	write(1, "64 bits again\n", 14);
	return 0;
}
