/*
 * numbers MODE THREADS COUNT SPIN: each thread makes COUNT system calls that
 * carry the numbers 0, 1, ... (COUNT 0: until the input ends), spinning for SPIN
 * rounds after each, then says "done TID COUNT" and waits to be killed.
 *
 *	recent	lseek(fd, n) on a file: returns n
 *	error	lseek(-1, n): fails
 *	payload	pwrite64(fd, "n hash(n)", 32, n) to /dev/null
 *	mixed	by n % 4: lseek that returns n, lseek that fails, connect of a
 *		datagram socket to port n (succeeds), pwrite64 as above
 */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

static const char *mode;
static long count, spin;
static int file, null, start[2];
static atomic_int stop;

static void call(uint32_t n, int sock)
{
	const char *how = mode;
	struct sockaddr_in to = { .sin_family = AF_INET };
	char line[33];

	if (!strcmp(how, "mixed"))
		how = (const char *[]){ "recent", "error", "connect", "payload" }[n % 4];
	if (!strcmp(how, "recent")) {
		syscall(SYS_lseek, file, (long)n, SEEK_SET);
	} else if (!strcmp(how, "error")) {
		syscall(SYS_lseek, -1, (long)n, SEEK_SET);
	} else if (!strcmp(how, "connect")) {
		to.sin_port = htons(n & 0xffff);
		to.sin_addr.s_addr = htonl(0x7f010000 | n >> 16);
		syscall(SYS_connect, sock, &to, sizeof(to));
	} else {
		/* 22 digits are followed by ten dots: 32 bytes that all mean something. */
		snprintf(line, sizeof(line), "%010u %010u ..........", n, hash(n));
		syscall(SYS_pwrite64, null, line, 32L, (long)n);
	}
}

static void *thread(void *arg)
{
	int sock = (int)(intptr_t)arg;
	char c, line[64];
	long n;

	if (read(start[0], &c, 1) != 1)
		die("read of the starting pipe");
	for (n = 0; count ? n < count : !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
		call((uint32_t)n, sock);
		for (volatile long i = 0; i < spin; i++)
			;
	}
	snprintf(line, sizeof(line), "done %ld %ld\n", (long)syscall(SYS_gettid), n);
	say(line);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id;
	long threads;

	if (argc != 5)
		return 98;
	mode = argv[1];
	threads = atol(argv[2]);
	count = atol(argv[3]);
	spin = atol(argv[4]);
	file = memfd_create("numbers", MFD_CLOEXEC);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (file < 0 || null < 0 || pipe(start))
		die("set-up");
	for (long i = 0; i < threads; i++) {
		int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		if (sock < 0)
			die("socket");
		if (pthread_create(&id, NULL, thread, (void *)(intptr_t)sock))
			die("pthread_create");
	}
	say("ready\n");
	hear();
	for (long i = 0; i < threads; i++)
		if (write(start[1], "x", 1) != 1)
			die("write of the starting pipe");
	while (hear())
		;
	atomic_store(&stop, 1);
	for (;;)
		pause();
}
