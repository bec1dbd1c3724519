/*
 * Dies in a known chain of functions: stack HOW [SECRET]. It says "ready", and waits for a
 * byte on standard input before it does. Between main and the end are alpha, beta and gamma.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *how;
static const char *secret = "";
static volatile size_t sink;
static char *volatile nowhere;
static void (*volatile nothing)(void);
static volatile int zero;

#define OUT_OF_LINE __attribute__((noinline, noclone))

OUT_OF_LINE static size_t recurse(volatile char *above)
{
	volatile char room[64];

	room[0] = *above;
	return zero ? 0 : recurse(room) + room[0];
}

OUT_OF_LINE static void gamma_(void)
{
	volatile char room[256];
	size_t i;

	/* On the stack, and nowhere else. */
	for (i = 0; secret[i] && i < sizeof(room); i++)
		room[i] = secret[i] ^ 1;
	sink += room[0];
	if (!strcmp(how, "libc") || !strcmp(how, "thread"))
		sink += strlen(nowhere);
	else if (!strcmp(how, "overflow"))
		sink += recurse(room);
	else if (!strcmp(how, "abort"))
		abort();
	else if (!strcmp(how, "handler"))
		sink += *nowhere;
	else if (!strcmp(how, "jump"))
		nothing();
	else if (!strcmp(how, "divide"))
		sink /= zero;
	else if (!strcmp(how, "trap"))
		__builtin_trap();
	else if (!strcmp(how, "vdso"))
		getcpu((unsigned *)8, 0);
	else
		pause();
	sink++;
}

OUT_OF_LINE static void beta(void)
{
	gamma_();
	sink++;
}

OUT_OF_LINE void alpha(void)
{
	beta();
	sink++;
}

static void *thread(void *arg)
{
	alpha();
	sink++;
	return arg;
}

static void handler(int sig)
{
	sink += sig;
	abort();
}

int main(int argc, char **argv)
{
	pthread_t other;
	char c;

	how = argc > 1 ? argv[1] : "";
	if (argc > 2) {
		secret = strdup(argv[2]);
		memset(argv[2], 'x', strlen(argv[2]));
	}
	if (!strcmp(how, "handler"))
		signal(SIGSEGV, handler);
	puts("ready");
	fflush(stdout);
	if (read(0, &c, 1) != 1)
		return 0;
	if (!strcmp(how, "thread")) {
		if (pthread_create(&other, 0, thread, 0))
			return 1;
		for (;;)
			pause();
	}
	alpha();
	sink++;
	return 0;
}
