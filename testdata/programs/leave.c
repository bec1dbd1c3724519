/*
 * leave THREADS STATUS: that many threads, the first among them, end at one moment, each by
 * its own exit with that status.
 */
#include "common.h"
#include <stdatomic.h>

static atomic_long waiting, go;
static int status;

static void *thread(void *arg)
{
	atomic_fetch_add(&waiting, 1);
	while (!atomic_load(&go))
		;
	syscall(SYS_exit, status);
	return arg;
}

int main(int argc, char **argv)
{
	long threads = argc > 1 ? atol(argv[1]) : 2;
	pthread_t id;

	status = argc > 2 ? atoi(argv[2]) : 0;
	for (long i = 1; i < threads; i++)
		if (pthread_create(&id, NULL, thread, NULL))
			die("pthread_create");
	while (atomic_load(&waiting) < threads - 1)
		;
	atomic_store(&go, 1);
	syscall(SYS_exit, status);
}
