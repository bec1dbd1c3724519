/*
 * threadexec PROGRAM ARGUMENT...: a thread that is not the leader executes PROGRAM,
 * and takes over the process. Prints the thread's id before.
 */
#include "common.h"

extern char **environ;

static void *thread(void *arg)
{
	char **argv = arg, line[32];

	snprintf(line, sizeof(line), "thread %ld\n", (long)syscall(SYS_gettid));
	say(line);
	hear();
	execve(argv[1], argv + 1, environ);
	die("execve");
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id;

	if (argc < 2)
		return 98;
	if (pthread_create(&id, NULL, thread, argv))
		die("pthread_create");
	for (;;)
		pause();
}
