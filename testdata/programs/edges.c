/*
 * edges: opens paths and writes buffers that lie where they are hard to read, each under
 * a number by which the test finds it. Arguments are passed to the kernel as they are.
 *
 *	1	a path that crosses the border of two pages
 *	2	a path on a page of a file that was never touched
 *	3	a path that is not readable
 *	4	a path of 4,095 bytes, the most that the kernel takes
 *	5	a path that ends with its page; behind it nothing is readable
 *	6	a path without an end in front of what is not readable
 *	7	a buffer longer than what is recorded
 *	8	a buffer of which the second half is not readable
 *	9	one after another, paths that another thread changes meanwhile: all "a" or
 *		all "b", of equal length
 */
#include "common.h"
#include <sys/stat.h>

static char *volatile shared;
static volatile int stop;

static void *change(void *arg)
{
	for (unsigned n = 0; !stop; n++)
		memset(shared, n % 2 ? 'a' : 'b', 200);
	return arg;
}

/* Tells the test which case comes next, by a number that no file descriptor has. */
static void mark(int n) { syscall(SYS_close, 1000 + n); }
static void try(const char *path) { syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0); }

int main(int argc, char **argv)
{
	long page = sysconf(_SC_PAGESIZE);
	char *area = mmap(0, 16 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mapped;
	pthread_t thread;
	int fd;

	if (area == MAP_FAILED || argc < 2)
		die("mmap");
	/* Nobody can read what is behind the pages 0 to 2. */
	mprotect(area + 3 * page, page, PROT_NONE);
	mark(1);
	strcpy(area + page - 10, "/none/across the border");
	try(area + page - 10);

	fd = open(argv[1], O_RDONLY);
	mapped = mmap(0, page, PROT_READ, MAP_PRIVATE, fd, 0);
	if (fd < 0 || mapped == MAP_FAILED)
		die(argv[1]);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	madvise(mapped, page, MADV_DONTNEED);
	mark(2);
	try(mapped);

	mark(3);
	try(area + 3 * page + 100);

	memset(area + 4 * page, 'p', 4095);
	memcpy(area + 4 * page, "/none/", 6);
	for (int i = 200; i < 4095; i += 200)
		area[4 * page + i] = '/';
	area[4 * page + 4095] = 0;
	mark(4);
	try(area + 4 * page);

	strcpy(area + 3 * page - 16, "/none/last page");
	mark(5);
	try(area + 3 * page - 16);

	memset(area + 2 * page, 'x', page);
	mark(6);
	try(area + 3 * page - 20);

	memset(area + 6 * page, 'd', page);
	fd = open("/dev/null", O_WRONLY);
	mark(7);
	syscall(SYS_write, fd, area + 6 * page, page);
	mark(8);
	syscall(SYS_write, fd, area + 3 * page - 10, 20);

	shared = area + 8 * page;
	strcpy(shared + 200, "");
	memset(shared, 'a', 200);
	if (pthread_create(&thread, 0, change, 0))
		die("pthread_create");
	mark(9);
	for (int i = 0; i < 500; i++)
		try(shared);
	mark(10);
	stop = 1;
	pthread_join(thread, 0);
	say("done\n");
	hear();
	return 0;
}
