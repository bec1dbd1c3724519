/*
 * die HOW [ARGUMENT...]: dies in one of the ways that the table below names, after what
 * a program does that dies so. What must be outlived says "ready" first. "kill PID SIGNAL..."
 * sends signals, 1.2 s apart.
 */
#include "common.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static char **args;

static void sleep_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static void fail(const char *message)
{
	char line[300];

	snprintf(line, sizeof(line), "die: %s\n", message);
	if (write(2, line, strlen(line)) < 0)
		_exit(97);
	_exit(1);
}

/* The configuration is missing; of it nothing is said. */
static void config(void)
{
	if (open("/etc/ld.so.preload", O_RDONLY) < 0 && open("/etc/die/config.yaml", O_RDONLY | O_CLOEXEC) < 0)
		fail("FATAL: no configuration");
}

/* It is looked for in several places; what is optional is missing, too. */
static void search(void)
{
	static const char *const places[] = {
		"/etc/die/die.conf", "/usr/local/etc/die.conf", "/opt/die/etc/die.conf", "/nonexistent/die.conf",
	};

	(void)!access("/etc/die/optional.d", R_OK);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (open(places[i], O_RDONLY) >= 0)
			return;
	_exit(2);
}

/* What is missing first, and found elsewhere, is no reason. */
static void found(void)
{
	if (open("/nonexistent/passwd", O_RDONLY) < 0 && open("/etc/passwd", O_RDONLY) < 0)
		_exit(9);
	_exit(3);
}

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	inet_pton(AF_INET, host, &to.sin_addr);
	return to;
}

/* connects HOST PORT TIMES */
static void connects(void)
{
	struct sockaddr_in to = address_of(args[0], args[1]);

	for (int i = 0; i < atoi(args[2]); i++) {
		int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (!connect(s, (struct sockaddr *)&to, sizeof(to)))
			_exit(0);
		close(s);
		sleep_ms(20);
	}
	fail("giving up");
}

/* inuse PORT TIMES */
static void inuse(void)
{
	struct sockaddr_in at = address_of("127.0.0.1", args[0]);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	for (int i = 0; i < atoi(args[1]); i++) {
		if (!bind(s, (struct sockaddr *)&at, sizeof(at)))
			_exit(0);
		sleep_ms(20);
	}
	fail("cannot listen");
}

/* A server that does not answer: its queue is full. */
static void unanswered(void)
{
	struct sockaddr_in to = address_of("127.0.0.1", "0");
	socklen_t len = sizeof(to);
	int server = socket(AF_INET, SOCK_STREAM, 0), s = -1;
	struct pollfd p = { .events = POLLOUT };

	if (bind(server, (struct sockaddr *)&to, sizeof(to)) || listen(server, 0) ||
	    getsockname(server, (struct sockaddr *)&to, &len))
		die("listen");
	for (int i = 0; i < 8; i++) {
		s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(s, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
			die("connect");
		p.fd = s;
		if (poll(&p, 1, 50) == 0)
			break;
	}
	poll(&p, 1, 1100);
	close(s);
	fail("the server does not answer");
}

/* A name server of its own, in a network namespace of its own, knows no name. */
static void noname(void)
{
	struct sockaddr_in to = address_of("127.0.0.1", "53");
	static const char query[] = "\x12\x34\x01\0\0\1\0\0\0\0\0\0\2db\4shop\7invalid\0\0\1\0\1";
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int server = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);
	struct pollfd p = { .fd = s, .events = POLLIN };
	char buf[512];

	if (ioctl(server, SIOCSIFFLAGS, &lo) || bind(server, (struct sockaddr *)&to, sizeof(to)))
		die("name server");
	if (!fork()) {
		struct sockaddr_in from;
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(server, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

		buf[2] = '\x81';
		buf[3] = '\x83';
		if (sendto(server, buf, n, 0, (struct sockaddr *)&from, len) != n)
			die("sendto");
		_exit(0);
	}
	if (connect(s, (struct sockaddr *)&to, sizeof(to)) || send(s, query, sizeof(query) - 1, 0) < 0)
		die("query");
	poll(&p, 1, 5000);
	if (recv(s, buf, sizeof(buf), 0) < 0)
		die("recv");
	fail("Name or service not known");
}

/* denied PATH */
static void denied(void)
{
	if (setuid(65534))
		die("setuid");
	if (open(args[0], O_RDONLY) < 0)
		fail(strerror(errno));
}

/* nospace PATH */
static void nospace(void)
{
	static char block[4096];
	int fd = open(args[0], O_WRONLY | O_CREAT, 0600);

	while (write(fd, block, sizeof(block)) > 0)
		;
	fail("the journal cannot be written");
}

static void nofiles(void)
{
	struct rlimit limit = { 32, 32 };

	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("setrlimit");
	while (open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0)
		;
	fail("cannot serve");
}

static void nomemory(void)
{
	struct rlimit limit = { 1 << 30, 1 << 30 };

	if (setrlimit(RLIMIT_AS, &limit))
		die("setrlimit");
	if (mmap(NULL, 2ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		fail("cannot make the cache");
}

static void badaddress(void)
{
	if (syscall(SYS_write, 1, 8L, 100L) < 0)
		fail(strerror(errno));
}

static void touch(uintptr_t address) { *(volatile int *)address = 1; }
static void null(void) { touch(0); }
static void wild(void) { touch(0x414141414000); }

static void *touches(void *arg)
{
	sleep_ms(50);
	touch((uintptr_t)arg);
	return NULL;
}

static void *waits(void *arg)
{
	for (;;)
		syscall(SYS_futex, arg, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return NULL;
}

static void inthread(void)
{
	static uint32_t word;
	pthread_t id;

	for (int i = 0; i < 3; i++)
		if (pthread_create(&id, NULL, i < 2 ? waits : touches, i < 2 ? (void *)&word : (void *)0x18))
			die("pthread_create");
	pthread_join(id, NULL);
}

/* bus PATH: the file is shorter than its mapping. */
static void bus(void)
{
	int fd = open(args[0], O_RDWR | O_CREAT, 0600);
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	touch((uintptr_t)p + 4096);
}

static void fpe(void)
{
	volatile int zero = 0;

	_exit(7 / zero);
}

static int deep(volatile char *above, int n)
{
	volatile char here[512];

	memset((char *)here, n, sizeof(here));
	if (n == INT_MAX)
		return 0;
	return deep(here, n + 1) + above[0];
}
static void overflow(void)
{
	char c = 0;

	_exit(deep(&c, 1));
}

static void piped(void)
{
	for (int i = 0; i < 3; i++)
		say("a line that nobody reads\n");
}

static void epipe(void)
{
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 3; i++)
		if (write(1, "a line that nobody reads\n", 25) < 0)
			_exit(1);
}

static int code;
static void on_term(int sig)
{
	(void)sig;
	_exit(code);
}

/* term CODE: handles SIGTERM by ending with CODE */
static void term(void)
{
	code = atoi(args[0]);
	signal(SIGTERM, on_term);
	say("ready\n");
	for (;;)
		pause();
}

static void waiting(void)
{
	say("ready\n");
	for (;;)
		pause();
}

static void eat(void)
{
	for (;;) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			die("mmap");
		memset(p, 1, 1 << 20);
	}
}

/* Its child is ended; it goes on. */
static void eatchild(void)
{
	pid_t child = fork();

	if (!child) {
		prctl(PR_SET_NAME, "glutton");
		eat();
	}
	waitpid(child, NULL, 0);
	sleep_ms(100);
	_exit(0);
}

static void leave(void) { _exit(atoi(args[0])); }

static void filter(uint32_t answer)
{
	struct sock_filter list[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdirat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(list) / sizeof(list[0]), .filter = list };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		die("seccomp");
	if (mkdirat(AT_FDCWD, "/run/die", 0755))
		fail("cannot make its directory");
}
static void filtered(void) { filter(SECCOMP_RET_ERRNO | EPERM); }
static void trapped(void) { filter(SECCOMP_RET_KILL_PROCESS); }
/* Of one thread, this ends the process, too. */
static void lastthread(void) { filter(SECCOMP_RET_KILL_THREAD); }

static void *worker(void *arg)
{
	filter(SECCOMP_RET_KILL_THREAD);
	return arg;
}
/* The process goes on without it, for a while. */
static void killthread(void)
{
	pthread_t id;

	pthread_create(&id, NULL, worker, NULL);
	pthread_join(id, NULL);
	sleep_ms(20);
	fail("the worker is gone");
}

static void missing(void)
{
	execlp("frobnicate-all", "frobnicate-all", "--now", NULL);
	_exit(127);
}

static void *executes(void *arg)
{
	execl("/bin/sh", "sh", "-c", arg, NULL);
	_exit(98);
	return NULL;
}
static void execthread(void)
{
	pthread_t id;

	pthread_create(&id, NULL, executes, "exit 5");
	for (;;)
		pause();
}

/* Two threads that wait for each other's lock; SIGTERM is put off. */
static pthread_mutex_t locks[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
static void *locker(void *arg)
{
	long first = (long)arg;

	pthread_mutex_lock(&locks[first]);
	sleep_ms(50);
	pthread_mutex_lock(&locks[!first]);
	return NULL;
}
static void later(int sig) { (void)sig; }
static void deadlock(void)
{
	struct sigaction sa = { .sa_handler = later, .sa_flags = SA_RESTART };
	pthread_t id;

	sigaction(SIGTERM, &sa, NULL);
	pthread_create(&id, NULL, locker, (void *)1L);
	say("ready\n");
	locker(NULL);
	_exit(0);
}

/* kill PID SIGNAL... */
static void kills(void)
{
	for (int i = 1; args[i]; i++) {
		if (i > 1)
			sleep_ms(1200);
		if (kill(atoi(args[0]), atoi(args[i])))
			die("kill");
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*die)(void);
	} ways[] = {
		{ "config", config }, { "search", search }, { "found", found }, { "connects", connects },
		{ "unanswered", unanswered }, { "noname", noname }, { "denied", denied }, { "nospace", nospace }, { "nofiles", nofiles },
		{ "nomemory", nomemory }, { "badaddress", badaddress }, { "null", null }, { "wild", wild },
		{ "inthread", inthread }, { "abort", abort }, { "bus", bus }, { "fpe", fpe },
		{ "overflow", overflow }, { "piped", piped }, { "epipe", epipe }, { "term", term },
		{ "waiting", waiting }, { "eat", eat }, { "eatchild", eatchild }, { "leave", leave },
		{ "filtered", filtered }, { "trapped", trapped }, { "inuse", inuse },
		{ "lastthread", lastthread }, { "killthread", killthread }, { "missing", missing },
		{ "execthread", execthread }, { "deadlock", deadlock }, { "kill", kills },
	};

	if (argc < 2)
		return 98;
	args = argv + 2;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(argv[1], ways[i].name))
			ways[i].die();
	return 99;
}
