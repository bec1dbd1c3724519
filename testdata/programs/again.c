/*
 * again FILE THREADS: each thread makes the same call, lseek(-1, 424242), again and again,
 * and counts in FILE, which outlives it, how often it began to and how often it returned.
 * At the end of the input all stop, and each says "done".
 *
 * again FILE exec: a thread that is not the leader makes 1000 such calls and executes
 * "again FILE after", which makes 500 more and says "done".
 */
#include "common.h"
#include <stdatomic.h>

#define MAX_THREADS 8

struct counts {
	_Atomic uint64_t tid, begun, done, pad;
};

static struct counts *counts;
static char *path, *self;
static atomic_int stop, go;
extern char **environ;

static void call(struct counts *c)
{
	atomic_fetch_add(&c->begun, 1);
	syscall(SYS_lseek, -1, 424242L, SEEK_SET);
	atomic_fetch_add(&c->done, 1);
	for (volatile int i = 0; i < 10000; i++)
		;
}

static void *loop(void *arg)
{
	struct counts *c = arg;

	atomic_store(&c->tid, (uint64_t)syscall(SYS_gettid));
	while (!atomic_load(&go))
		;
	while (!atomic_load(&stop))
		call(c);
	say("done\n");
	for (;;)
		pause();
	return NULL;
}

static void *execute(void *arg)
{
	char *argv[] = { self, path, "after", NULL };
	struct counts *c = arg;

	atomic_store(&c->tid, (uint64_t)syscall(SYS_gettid));
	while (!atomic_load(&go))
		;
	for (int i = 0; i < 1000; i++)
		call(c);
	execve(self, argv, environ);
	die("execve");
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id;
	int fd, threads;

	if (argc != 3)
		return 98;
	self = argv[0];
	path = argv[1];
	threads = atoi(argv[2]);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 4096))
		die(path);
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED || threads > MAX_THREADS)
		die("set-up");
	if (!strcmp(argv[2], "after")) {
		atomic_store(&counts[1].tid, (uint64_t)syscall(SYS_gettid));
		for (int i = 0; i < 500; i++)
			call(&counts[1]);
		say("done\n");
		for (;;)
			pause();
	}
	if (!strcmp(argv[2], "exec")) {
		if (pthread_create(&id, NULL, execute, counts))
			die("pthread_create");
	}
	for (int i = 0; i < threads; i++)
		if (pthread_create(&id, NULL, loop, counts + i))
			die("pthread_create");
	say("ready\n");
	hear();
	atomic_store(&go, 1);
	while (hear())
		;
	atomic_store(&stop, 1);
	for (;;)
		pause();
}
