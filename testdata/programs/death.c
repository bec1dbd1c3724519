/*
 * death HOW [NOISE]: makes the numbered calls lseek(-1, 0) to lseek(-1, 99), then
 * dies: "segv", "abort", "exit" (with 3), "clean" (with 0), "oom" (takes memory
 * until it is killed), or "wait" (says "waiting", blocks in pause). All the while, NOISE
 * threads make calls that succeed: lseek on /dev/null.
 */
#include "common.h"

static void *noise(void *arg)
{
	long null = (long)arg;

	for (long n = 0;; n++)
		syscall(SYS_lseek, null, n, SEEK_SET);
	return NULL;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "clean";
	long threads = argc > 2 ? atol(argv[2]) : 0;
	long null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pthread_t id;

	if (null < 0)
		die("/dev/null");
	say("ready\n");
	hear();
	for (long i = 0; i < threads; i++)
		if (pthread_create(&id, NULL, noise, (void *)null))
			die("pthread_create");
	for (long n = 0; n < 100; n++)
		syscall(SYS_lseek, -1, n, SEEK_SET);
	if (!strcmp(how, "segv")) {
		int *volatile nowhere = (int *)0x10;

		*nowhere = 1;
	} else if (!strcmp(how, "abort")) {
		abort();
	} else if (!strcmp(how, "exit")) {
		_exit(3);
	} else if (!strcmp(how, "oom")) {
		for (;;) {
			size_t size = 4 << 20;
			char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (p == MAP_FAILED)
				die("mmap");
			memset(p, 1, size);
		}
	} else if (!strcmp(how, "wait")) {
		say("waiting\n");
		for (;;)
			pause();
	}
	_exit(0);
}
