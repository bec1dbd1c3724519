/*
 * blocked THREADS: that many threads block, a third each in futex, in read of an
 * empty pipe and in clock_nanosleep. It says "ready" when it has started them all.
 */
#include "common.h"
#include <linux/futex.h>
#include <time.h>

static int pipes[2];
static uint32_t word;

static void *thread(void *arg)
{
	struct timespec day = { .tv_sec = 86400 };
	char c;

	switch ((long)arg % 3) {
	case 0:
		for (;;)
			syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	case 1:
		for (;;)
			if (read(pipes[0], &c, 1) != 1)
				die("read of the empty pipe");
	default:
		for (;;)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &day, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	long threads = argc > 1 ? atol(argv[1]) : 1;
	pthread_attr_t attr;
	pthread_t id;

	if (pipe(pipes))
		die("pipe");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN);
	for (long i = 0; i < threads; i++)
		if (pthread_create(&id, &attr, thread, (void *)i))
			die("pthread_create");
	say("ready\n");
	hear();
	return 0;
}
