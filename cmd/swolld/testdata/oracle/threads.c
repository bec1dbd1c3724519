/* Threads that wait for each other, and ends of their process while some are blocked. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int words[2], never[2];

static void *reader(void *arg)
{
	char b[64];

	while (read(words[0], b, sizeof(b)) > 0)
		;
	return arg;
}

static void *blocked(void *arg)
{
	char b[8];

	read(never[0], b, sizeof(b));
	return arg;
}

static void *executor(void *arg)
{
	usleep(20000);
	execl("/bin/true", "true", (char *)0);
	return arg;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	pthread_t t, u;

	pipe(words);
	pipe(never);
	pthread_create(&t, 0, reader, 0);
	for (int i = 0; i < 5; i++) {
		write(words[1], "hello", 5);
		usleep(3000);
	}
	pthread_create(&u, 0, blocked, 0);
	usleep(20000);
	if (!strcmp(what, "exit"))
		exit(1);
	if (!strcmp(what, "kill"))
		kill(getpid(), SIGKILL);
	if (!strcmp(what, "segv"))
		*(volatile int *)0 = 1;
	if (!strcmp(what, "term"))
		kill(getpid(), SIGTERM);
	if (!strcmp(what, "exec")) {
		pthread_create(&t, 0, executor, 0);
		pthread_join(t, 0);
	}
	if (!strcmp(what, "stop")) {
		if (!fork()) {
			usleep(30000);
			kill(getppid(), SIGCONT);
			_exit(0);
		}
		kill(getpid(), SIGSTOP);
		wait(0);
	}
	close(words[1]);
	pthread_join(t, 0);
	return 0;
}
