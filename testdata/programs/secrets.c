/*
 * secrets THREADS PATH ATAD: each thread makes, again and again until it is killed, calls
 * that carry PATH in a path and calls that carry DATA in a buffer: write, writev, sendto,
 * sendmsg, and the calls that read what these wrote. One more thread only writes DATA and
 * reads it, and one hangs in a write of DATA to a full pipe. DATA is given backwards, so
 * that no argument of execve holds it.
 */
#include "common.h"
#include <sys/socket.h>
#include <sys/uio.h>

static const char *path;
static char *data;

static void *hang(void *arg)
{
	static char fill[1 << 20];
	int p[2], size;

	(void)arg;
	if (pipe(p) || (size = fcntl(p[0], F_GETPIPE_SZ)) < 0 || size > (int)sizeof(fill))
		die("pipe");
	/* After this the pipe is full, and the next write waits. */
	if (write(p[1], fill, size) != size)
		die("write");
	if (write(p[1], data, strlen(data)) < 0)
		die("write");
	return NULL;
}

/* Nothing but DATA: no other argument takes its place in what the recorder remembers. */
static void *plain(void *arg)
{
	char buf[256];
	int p[2];

	(void)arg;
	if (pipe(p))
		die("pipe");
	for (;;) {
		if (write(p[1], data, strlen(data)) < 0 || read(p[0], buf, sizeof(buf)) < 0)
			die("call");
		/* A sleep would be a call with an argument to remember. */
		for (volatile int i = 0; i < 100000; i++)
			;
	}
	return NULL;
}

static void *make(void *arg)
{
	size_t len = strlen(data);
	char name[PATH_MAX], buf[256];
	struct iovec half[2] = { { data, len / 2 }, { data + len / 2, len - len / 2 } };
	struct iovec in = { buf, sizeof(buf) };
	struct msghdr out = { .msg_iov = half, .msg_iovlen = 2 }, got = { .msg_iov = &in, .msg_iovlen = 1 };
	int s[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s))
		die("socketpair");
	for (unsigned long n = 0;; n++) {
		snprintf(name, sizeof(name), "/%s/%lu/%lu", path, (unsigned long)arg, n);
		access(name, F_OK);
		if (write(s[0], data, len) < 0 || read(s[1], buf, sizeof(buf)) < 0 ||
		    writev(s[0], half, 2) < 0 || readv(s[1], &in, 1) < 0 ||
		    sendto(s[0], data, len, 0, NULL, 0) < 0 || recv(s[1], buf, sizeof(buf), 0) < 0 ||
		    sendmsg(s[0], &out, 0) < 0 || recvmsg(s[1], &got, 0) < 0)
			die("call");
		usleep(200);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id;

	if (argc != 4)
		return 98;
	path = argv[2];
	data = strdup(argv[3]);
	for (size_t n = strlen(data), i = 0; i < n / 2; i++) {
		char c = data[i];

		data[i] = data[n - 1 - i];
		data[n - 1 - i] = c;
	}
	if (pthread_create(&id, NULL, hang, NULL) || pthread_create(&id, NULL, plain, NULL))
		die("pthread_create");
	for (long i = 0; i < atol(argv[1]); i++)
		if (pthread_create(&id, NULL, make, (void *)i))
			die("pthread_create");
	say("ready\n");
	for (;;)
		pause();
}
