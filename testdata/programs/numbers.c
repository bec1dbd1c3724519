/*
 * numbers MODE THREADS COUNT SPIN: each thread makes COUNT system calls that
 * carry the numbers 0, 1, ... (COUNT 0: until the input ends), spinning for SPIN
 * rounds after each, then says "done TID COUNT" and waits to be killed. Threads that
 * make a known number stay within WINDOW calls of each other, so that the newest calls
 * of all are newest calls of each.
 *
 *	recent	lseek(fd, n) on a file: returns n
 *	error	lseek(-1, n): fails
 *	payload	pwrite64(fd, "n hash(n)", 32, n) to /dev/null
 *	mixed	by n % 4: lseek that returns n, lseek that fails, connect of a
 *		datagram socket to port n (succeeds), pwrite64 as above
 *	runs	by n % 5: those of mixed, or pread64 of some bytes of /dev/zero at n; some
 *		many times at once: see times()
 */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define MAX_THREADS 64
#define WINDOW 32

static const char *mode;
static long threads, count, spin;
static int file, null, zero, start[2];
static atomic_int stop;
static _Atomic long made[MAX_THREADS];

/* Waits, without a system call, until no thread is WINDOW calls behind. */
static void keep_pace(long me, long n)
{
	atomic_store_explicit(&made[me], n, memory_order_relaxed);
	for (long i = 0; i < threads; i++)
		while (n - atomic_load_explicit(&made[i], memory_order_relaxed) > WINDOW)
			;
}

static void call(uint32_t n, int sock)
{
	const char *how = mode;
	struct sockaddr_in to = { .sin_family = AF_INET };
	char line[33];

	if (!strcmp(how, "runs"))
		how = (const char *[]){ "recent", "error", "connect", "payload", "filled" }[n % 5];
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
	} else if (!strcmp(how, "filled")) {
		syscall(SYS_pread64, zero, line, 1L + n % 7, (long)n);
	} else {
		/* 22 digits are followed by ten dots: 32 bytes that all mean something. */
		snprintf(line, sizeof(line), "%010u %010u ..........", n, hash(n));
		syscall(SYS_pwrite64, null, line, 32L, (long)n);
	}
}

/* How often a number's call is made; what the test computes as well. */
static uint32_t times(uint32_t n)
{
	uint32_t h = hash(n);

	return strcmp(mode, "runs") || h % 4 ? 1 : 2 + h / 4 % 100;
}

static void *thread(void *arg)
{
	long me = (long)arg, n;
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char c, line[64];

	if (sock < 0)
		die("socket");

	if (read(start[0], &c, 1) != 1)
		die("read of the starting pipe");
	for (n = 0; count ? n < count : !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
		if (count)
			keep_pace(me, n);
		for (uint32_t i = times((uint32_t)n); i > 0; i--)
			call((uint32_t)n, sock);
		for (volatile long i = 0; i < spin; i++)
			;
	}
	atomic_store(&made[me], LONG_MAX);
	snprintf(line, sizeof(line), "done %ld %ld\n", (long)syscall(SYS_gettid), n);
	say(line);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t id;

	if (argc != 5)
		return 98;
	mode = argv[1];
	threads = atol(argv[2]);
	count = atol(argv[3]);
	spin = atol(argv[4]);
	file = memfd_create("numbers", MFD_CLOEXEC);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (file < 0 || null < 0 || zero < 0 || pipe(start))
		die("set-up");
	if (threads < 1 || threads > MAX_THREADS)
		return 98;
	for (long i = 0; i < threads; i++)
		if (pthread_create(&id, NULL, thread, (void *)i))
			die("pthread_create");
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
