/*
 * uring HOW [ARGUMENT...]: does through io_uring what the table at the end names, by raw
 * system calls. What the numbered operations carry as user_data is RING << 32 | N.
 */
#include "common.h"
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static char **args;

struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *sq_flags, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned pending, shift;
};

static void open_ring(struct ring *r, unsigned entries, unsigned flags, unsigned cq)
{
	struct io_uring_params p = { .flags = flags, .sq_thread_idle = 200 };
	char *sq, *cqm;

	if (cq) {
		p.flags |= IORING_SETUP_CQSIZE;
		p.cq_entries = cq;
	}
	r->fd = (int)syscall(SYS_io_uring_setup, entries, &p);
	if (r->fd < 0)
		die("io_uring_setup");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	cqm = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_CQ_RING);
	r->shift = flags & IORING_SETUP_SQE128 ? 1 : 0;
	r->sqes = mmap(NULL, (p.sq_entries << r->shift) * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cqm == MAP_FAILED || r->sqes == MAP_FAILED)
		die("mmap of io_uring");
	r->sq_tail = (unsigned *)(sq + p.sq_off.tail);
	r->sq_mask = (unsigned *)(sq + p.sq_off.ring_mask);
	r->sq_array = (unsigned *)(sq + p.sq_off.array);
	r->sq_flags = (unsigned *)(sq + p.sq_off.flags);
	r->cq_head = (unsigned *)(cqm + p.cq_off.head);
	r->cq_tail = (unsigned *)(cqm + p.cq_off.tail);
	r->cq_mask = (unsigned *)(cqm + p.cq_off.ring_mask);
	r->cqes = (struct io_uring_cqe *)(cqm + p.cq_off.cqes);
	r->pending = 0;
}

static struct io_uring_sqe *next(struct ring *r, uint8_t opcode, int fd, uint64_t user_data)
{
	unsigned index = (*r->sq_tail + r->pending) & *r->sq_mask;
	struct io_uring_sqe *sqe = &r->sqes[index << r->shift];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->user_data = user_data;
	r->sq_array[index] = index;
	r->pending++;
	return sqe;
}

/* Submits what is pending, and waits for that many completions. */
static void submit(struct ring *r, unsigned wait)
{
	unsigned n = r->pending;
	long got;

	__atomic_store_n(r->sq_tail, *r->sq_tail + n, __ATOMIC_RELEASE);
	r->pending = 0;
	while (n || wait) {
		got = syscall(SYS_io_uring_enter, r->fd, n, wait, wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0);
		if (got < 0 && errno != EINTR)
			die("io_uring_enter");
		if (got >= (long)n)
			return;
		if (got > 0)
			n -= got;
	}
}

struct completion {
	uint64_t user_data;
	int res;
	unsigned flags;
};

/* The next completion; it is waited for. */
static struct completion reap(struct ring *r)
{
	struct completion cqe;

	while (__atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) == *r->cq_head)
		if (syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
			die("io_uring_enter");
	memcpy(&cqe, &r->cqes[*r->cq_head & *r->cq_mask], sizeof(cqe));
	__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
	return cqe;
}

static int one(struct ring *r)
{
	submit(r, 1);
	return reap(r).res;
}

/* Says what the kernel told of n completions. */
static void tell(struct ring *r, unsigned n)
{
	char line[80];

	while (n--) {
		struct completion cqe = reap(r);

		snprintf(line, sizeof(line), "cqe %llu %d %u\n", (unsigned long long)cqe.user_data, cqe.res,
			 cqe.flags & IORING_CQE_F_MORE);
		say(line);
	}
}

static void path(struct io_uring_sqe *sqe, const char *path)
{
	sqe->addr = (uintptr_t)path;
}

static int fail(const char *message)
{
	return write(2, message, strlen(message)) < 0 ? 97 : 1;
}

/* missing PATH: opens a file that is not there, and ends for it. */
static int missing(void)
{
	struct ring r;

	open_ring(&r, 8, 0, 0);
	path(next(&r, IORING_OP_OPENAT, AT_FDCWD, 1), args[0]);
	return one(&r) < 0 ? fail("FATAL: no configuration\n") : 0;
}

/* refused PORT: connects to a port of the loopback on which nobody listens. */
static int refused(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(args[0])) };
	struct io_uring_sqe *sqe;
	struct ring r;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	open_ring(&r, 8, 0, 0);
	sqe = next(&r, IORING_OP_CONNECT, socket(AF_INET, SOCK_STREAM, 0), 1);
	sqe->addr = (uintptr_t)&to;
	sqe->off = sizeof(to);
	return one(&r) < 0 ? fail("FATAL: no database\n") : 0;
}

static long count;
static unsigned ring_flags, sqe_flags;
static int zero, null;

/* Makes COUNT numbered operations, some at a time: those that succeed at once, those that
 * fail, those that read and write. */
static void *numbers(void *arg)
{
	uint64_t me = (uintptr_t)arg;
	static __thread char buffer[64];
	struct ring r;

	open_ring(&r, 32, ring_flags, 0);
	for (long n = 0; n < count;) {
		unsigned batch = 0;

		for (; batch < 16 && n < count; n++, batch++) {
			struct io_uring_sqe *sqe;
			uint64_t id = me << 32 | (uint64_t)n;

			switch (n % 4) {
			case 0:
				sqe = next(&r, IORING_OP_NOP, 0, id);
				break;
			case 1: /* fails */
				sqe = next(&r, IORING_OP_READ, -1, id);
				break;
			case 2:
				sqe = next(&r, IORING_OP_READ, zero, id);
				sqe->len = n % 64;
				break;
			default:
				sqe = next(&r, IORING_OP_WRITE, null, id);
				sqe->len = n % 64;
				sqe->off = n;
			}
			if (n % 4 > 1)
				sqe->addr = (uintptr_t)buffer;
			sqe->flags = sqe_flags;
		}
		if (ring_flags & IORING_SETUP_SQPOLL) {
			__atomic_store_n(r.sq_tail, *r.sq_tail + r.pending, __ATOMIC_SEQ_CST);
			r.pending = 0;
			if (__atomic_load_n(r.sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
				syscall(SYS_io_uring_enter, r.fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
		} else {
			submit(&r, batch);
		}
		while (batch--)
			reap(&r);
	}
	return NULL;
}

/* numbers KIND RINGS COUNT: KIND is plain, sqpoll, async (by workers), drain, or wide, where each
 * entry has 128 bytes. */
static int all_numbers(void)
{
	pthread_t ids[64];
	long rings = atol(args[1]);

	count = atol(args[2]);
	ring_flags = !strcmp(args[0], "sqpoll") ? IORING_SETUP_SQPOLL :
		     !strcmp(args[0], "wide")	? IORING_SETUP_SQE128 : 0;
	sqe_flags = !strcmp(args[0], "async") ? IOSQE_ASYNC : !strcmp(args[0], "drain") ? IOSQE_IO_DRAIN : 0;
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	say("ready\n");
	hear();
	for (long i = 0; i < rings; i++)
		if (pthread_create(&ids[i], NULL, numbers, (void *)i))
			die("pthread_create");
	for (long i = 0; i < rings; i++)
		pthread_join(ids[i], NULL);
	say("done\n");
	return hear();
}

/* each DIRECTORY: one of many kinds, most of which fail, told one by one. */
static int each(void)
{
	static struct statx buffer;
	static const char *const to = "nowhere/to";
	struct ring r;
	struct io_uring_sqe *sqe;
	int files[2] = { open("/dev/zero", O_RDONLY), -1 }, pair[2];
	char *there, c;

	if (chdir(args[0]) || pipe(pair) || asprintf(&there, "%s/there", args[0]) < 0)
		die("set-up");
	open_ring(&r, 64, 0, 0);
	if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, files, 2))
		die("io_uring_register");
	path(next(&r, IORING_OP_OPENAT, AT_FDCWD, 1), "nowhere/openat");
	sqe = next(&r, IORING_OP_STATX, AT_FDCWD, 2);
	path(sqe, "nowhere/statx");
	sqe->len = STATX_BASIC_STATS;
	sqe->off = (uintptr_t)&buffer;
	path(next(&r, IORING_OP_UNLINKAT, AT_FDCWD, 3), "nowhere/unlinkat");
	sqe = next(&r, IORING_OP_RENAMEAT, AT_FDCWD, 4);
	path(sqe, "nowhere/from");
	sqe->len = AT_FDCWD;
	sqe->off = (uintptr_t)to;
	sqe = next(&r, IORING_OP_MKDIRAT, AT_FDCWD, 5);
	path(sqe, "nowhere/mkdirat");
	sqe->len = 0755;
	sqe = next(&r, IORING_OP_SYMLINKAT, AT_FDCWD, 6);
	path(sqe, "target");
	sqe->off = (uintptr_t)to;
	sqe = next(&r, IORING_OP_LINKAT, AT_FDCWD, 7);
	path(sqe, "nowhere/from");
	sqe->len = AT_FDCWD;
	sqe->off = (uintptr_t)to;
	sqe = next(&r, IORING_OP_OPENAT, AT_FDCWD, 8);
	path(sqe, there);
	sqe->open_flags = O_WRONLY | O_CREAT | O_EXCL;
	sqe->len = 0640;
	/* Registered file 0 is there, 1 is not. */
	sqe = next(&r, IORING_OP_READ, 0, 9);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)&c;
	sqe->len = 1;
	sqe = next(&r, IORING_OP_READ, 1, 10);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uintptr_t)&c;
	sqe->len = 1;
	/* What the kernel does not even take in. */
	next(&r, 200, 0, 11);
	next(&r, IORING_OP_NOP, 0, 12)->flags = 0x80;
	path(next(&r, IORING_OP_OPENAT, AT_FDCWD, 13), (const char *)8);
	submit(&r, 0);
	if (r.pending)
		die("pending");
	tell(&r, 13);
	/* One that fails ends what is linked to it; one that a timeout ends. */
	sqe = next(&r, IORING_OP_OPENAT, AT_FDCWD, 14);
	path(sqe, "nowhere/linked");
	sqe->flags = IOSQE_IO_LINK;
	next(&r, IORING_OP_NOP, 0, 15)->flags = IOSQE_IO_LINK;
	next(&r, IORING_OP_NOP, 0, 16);
	sqe = next(&r, IORING_OP_READ, pair[0], 17);
	sqe->addr = (uintptr_t)&c;
	sqe->len = 1;
	sqe->flags = IOSQE_IO_LINK;
	struct __kernel_timespec soon = { .tv_nsec = 1000000 };
	sqe = next(&r, IORING_OP_LINK_TIMEOUT, 0, 18);
	sqe->addr = (uintptr_t)&soon;
	sqe->len = 1;
	submit(&r, 5);
	tell(&r, 5);
	/* Only a failure is told of these. */
	next(&r, IORING_OP_NOP, 0, 19)->flags = IOSQE_CQE_SKIP_SUCCESS;
	sqe = next(&r, IORING_OP_OPENAT, AT_FDCWD, 20);
	path(sqe, "nowhere/skip");
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	submit(&r, 1);
	tell(&r, 1);
	/* One is cancelled. */
	sqe = next(&r, IORING_OP_READ, pair[0], 21);
	sqe->addr = (uintptr_t)&c;
	sqe->len = 1;
	submit(&r, 0);
	next(&r, IORING_OP_ASYNC_CANCEL, -1, 22)->addr = 21;
	submit(&r, 2);
	tell(&r, 2);
	say("done\n");
	return hear();
}

/* multishot COUNT: accepts COUNT connections by one operation, and sees COUNT bytes come by
 * one poll. */
static int multishot(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), pair[2], n = atoi(args[0]);
	struct io_uring_sqe *sqe;
	struct ring r;
	char c = 'x';

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (void *)&at, sizeof(at)) || listen(listener, 64) || pipe(pair) ||
	    getsockname(listener, (void *)&at, &len))
		die("set-up");
	open_ring(&r, 8, 0, 0);
	sqe = next(&r, IORING_OP_ACCEPT, listener, 1);
	sqe->ioprio = IORING_ACCEPT_MULTISHOT;
	sqe = next(&r, IORING_OP_POLL_ADD, pair[0], 2);
	sqe->poll32_events = POLLIN;
	sqe->len = IORING_POLL_ADD_MULTI;
	submit(&r, 0);
	for (int i = 0; i < n; i++) {
		if (connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&at, sizeof(at)))
			die("connect");
		tell(&r, 1);
		if (write(pair[1], &c, 1) != 1)
			die("write");
		tell(&r, 1);
		if (read(pair[0], &c, 1) != 1)
			die("read");
	}
	say("done\n");
	return hear();
}

/* overflow COUNT: lets the completion queue run over. */
static int overflow(void)
{
	int n = atoi(args[0]);
	struct ring r;

	open_ring(&r, 4, 0, 4);
	for (int i = 0; i < n; i++) {
		next(&r, IORING_OP_NOP, 0, i);
		submit(&r, 0);
	}
	say("done\n");
	return hear();
}

/* flood COUNT: has COUNT polls of one pipe in flight, which then end at once. */
static int flood(void)
{
	int n = atoi(args[0]), pair[2];
	struct ring r;
	char c = 'x';

	if (pipe(pair))
		die("pipe");
	open_ring(&r, 256, 0, 32768);
	for (int i = 0; i < n; i++) {
		next(&r, IORING_OP_POLL_ADD, pair[0], i)->poll32_events = POLLIN;
		if (i % 256 == 255 || i == n - 1)
			submit(&r, 0);
	}
	say("ready\n");
	hear();
	if (write(pair[1], &c, 1) != 1)
		die("write");
	for (int i = 0; i < n; i++)
		reap(&r);
	say("done\n");
	return hear();
}

/* pending: reads from a pipe that nobody writes to, until the input ends. */
static int pending(void)
{
	struct io_uring_sqe *sqe;
	struct ring r;
	int pair[2];
	char c;

	if (pipe(pair))
		die("pipe");
	open_ring(&r, 8, 0, 0);
	sqe = next(&r, IORING_OP_READ, pair[0], 77);
	sqe->addr = (uintptr_t)&c;
	sqe->len = 1;
	path(next(&r, IORING_OP_OPENAT, AT_FDCWD, 78), "nowhere/pending");
	submit(&r, 1);
	say("ready\n");
	while (hear())
		;
	reap(&r);
	if (write(pair[1], &c, 1) != 1)
		die("write");
	reap(&r);
	say("done\n");
	return pause();
}

/* load COUNT: numbered messages over sockets of the loopback, sent and received through io_uring, and
 * a numbered system call after each. Their completions come while interrupts deliver. */
static int load(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0), file = memfd_create("load", 0);
	long n = atol(args[0]);
	static char from[64], to[8][64];
	struct io_uring_sqe *sqe;
	struct ring r;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(in, (void *)&at, sizeof(at)) || getsockname(in, (void *)&at, &len) ||
	    connect(out, (void *)&at, sizeof(at)))
		die("set-up");
	open_ring(&r, 64, 0, 0);
	say("ready\n");
	hear();
	for (long i = 0; i < n; i += 8) {
		/* The receivers wait first, and what wakes them is in the interrupt of each message. */
		for (long k = 0; k < 8; k++) {
			sqe = next(&r, IORING_OP_RECV, in, 1ull << 32 | (i + k));
			sqe->addr = (uintptr_t)to[k];
			sqe->len = sizeof(to[k]);
		}
		submit(&r, 0);
		for (long k = 0; k < 8; k++) {
			sqe = next(&r, IORING_OP_SEND, out, i + k);
			sqe->addr = (uintptr_t)from;
			sqe->len = sizeof(from);
			submit(&r, 0);
			syscall(SYS_lseek, file, i + k, SEEK_SET);
		}
		for (int k = 0; k < 16; k++)
			reap(&r);
	}
	say("done\n");
	return hear();
}

static const struct {
	const char *name;
	int (*run)(void);
} ways[] = {
	{ "missing", missing },	    { "refused", refused },   { "numbers", all_numbers }, { "each", each },
	{ "multishot", multishot }, { "overflow", overflow }, { "pending", pending },	  { "load", load },
	{ "flood", flood },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(argv[1], ways[i].name))
			continue;
		args = argv + 2;
		return ways[i].run();
	}
	return 98;
}
