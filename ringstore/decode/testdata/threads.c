/* Threads, children that are killed inside a call, and what strace writes of them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int pipes[2];
static char byte[8];

static void *thread(void *arg)
{
	write(1, "thread", 6);
	return arg;
}

static void child(int which)
{
	struct pollfd fd = { pipes[0], POLLIN };
	struct epoll_event events[2];
	struct timespec t = { 100, 0 };
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	int s;

	switch (which) {
	case 0:
		read(pipes[0], byte, 1);
		break;
	case 1:
		poll(&fd, 1, -1);
		break;
	case 2:
		epoll_wait(epoll_create1(0), events, 2, -1);
		break;
	case 3:
		syscall(SYS_nanosleep, &t, &t);
		break;
	case 4:
		s = socket(AF_INET, SOCK_STREAM, 0);
		listen(s, 1);
		accept(s, (void *)&address, &length);
		break;
	case 5:
		s = 0;
		syscall(SYS_futex, &s, 0, 0, NULL);
		break;
	case 6:
		pause();
		break;
	case 7:
		abort();
	case 8:
		*(volatile int *)16 = 1;
		break;
	case 9:
		exit(7);
	}
}

int main(void)
{
	struct timespec t = { 0, 20000000 };
	pthread_t id;
	int status, which;
	sigset_t set;
	pid_t pid;

	/* Whether it comes before the wait returns, or after, is a matter of luck. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pipe(pipes);
	pthread_create(&id, NULL, thread, NULL);
	pthread_join(id, NULL);
	for (which = 0; which < 10; which++) {
		pid = fork();
		if (!pid) {
			child(which);
			_exit(0);
		}
		nanosleep(&t, NULL);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(SIGTERM);
	return 0;
}
