/*
 * What the test programs share. They talk to the test by single lines: they
 * print "ready" when their set-up is behind them, and wait for a byte on
 * standard input before they do what the test is about. So the test knows which
 * system calls lie before, and can move them elsewhere first.
 */
#ifndef COMMON_H
#define COMMON_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void die(const char *what)
{
	perror(what);
	exit(99);
}

/* One write, so that lines of several threads do not mix. */
static inline void say(const char *line)
{
	if (write(1, line, strlen(line)) < 0)
		die("write to the test");
}

/* Waits for a byte; 0 at the end of the input. */
static inline int hear(void)
{
	char c;
	ssize_t n;

	do
		n = read(0, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die("read from the test");
	return (int)n;
}

/* What the test computes as well, to tell altered numbers from true ones. */
static inline uint32_t hash(uint32_t n)
{
	n ^= n >> 16;
	n *= 0x7feb352dU;
	n ^= n >> 15;
	n *= 0x846ca68bU;
	n ^= n >> 16;
	return n;
}

#endif
