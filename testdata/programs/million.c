/*
 * Makes as many calls as its argument says, as a busy server does: a few threads that
 * wait for events, read requests, look files up, read them, write answers and a log; some
 * of the calls fail. No call is like the one before. In the end it misses a file.
 */
#include "common.h"
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define THREADS 4

static long rounds;

static void *serve(void *arg)
{
	long me = (long)arg;
	char buf[4096], name[64], text[128];
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), poll = epoll_create1(EPOLL_CLOEXEC), pair[2];
	struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event event = { .events = EPOLLIN };
	struct stat st;

	if (null < 0 || poll < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("set-up");
	epoll_ctl(poll, EPOLL_CTL_ADD, pair[1], &event);
	for (long i = 0; i < rounds; i++) {
		int n = snprintf(text, sizeof(text), "GET /items/%ld?session=%lx HTTP/1.1\r\nHost: shop\r\n\r\n", i, i * 2654435761L);
		int fd;

		if (write(pair[0], text, n) != n || epoll_wait(poll, &event, 1, (int)(i & 1023)) != 1 ||
		    recv(pair[1], buf, sizeof(buf) - (i & 255), 0) != n)
			die("a request");
		fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) || pread(fd, buf, 16 + (i & 15), 64 + i % 4096) < 0)
			die("a file");
		lseek(fd, i % 4096, SEEK_SET);
		if (read(fd, buf, 1 + (i & 31)) < 0 || close(fd))
			die("a file");
		n = snprintf(text, sizeof(text), "%ld 200 %ld\n", i, me);
		if (write(null, text, n) != n)
			die("the log");
		if (i % 16 == 0) {
			snprintf(name, sizeof(name), "/etc/shop/items/%ld.json", i);
			if (!access(name, R_OK))
				die("a file that is not there");
		}
		if (i % 64 == 0) {
			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			if (!connect(fd, (struct sockaddr *)&nobody, sizeof(nobody)))
				die("connected to nobody");
			close(fd);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];

	if (argc != 2)
		return 2;
	rounds = atol(argv[1]) / THREADS / 10;
	for (long i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, serve, (void *)i))
			die("a thread");
	}
	for (long i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	if (open("/etc/shop/shop.yaml", O_RDONLY) < 0)
		perror("cannot open /etc/shop/shop.yaml");
	return 1;
}
