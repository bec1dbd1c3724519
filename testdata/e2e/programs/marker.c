/*
 * marker TEXT...: makes system calls that name TEXT, so that whoever looks at a history
 * knows whose it is: a file of that name is opened, which there is not; a line of it is
 * written to a pipe. Between rounds it waits for 50 ms. TEXT may begin with options:
 *
 *	-n N	ends after N rounds (0: goes on for ever)
 *	-x N	ends with this exit status
 *	-q	only opens files; nothing is written
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long rounds = 0, status = 0, quiet = 0;
	char line[512], path[512];
	int c, fds[2];

	while ((c = getopt(argc, argv, "+n:x:q")) != -1)
		switch (c) {
		case 'n':
			rounds = atol(optarg);
			break;
		case 'x':
			status = atol(optarg);
			break;
		case 'q':
			quiet = 1;
			break;
		default:
			return 2;
		}
	if (pipe(fds))
		return 3;
	for (long i = 0; !rounds || i < rounds; i++) {
		if (i)
			usleep(50000);
		for (int a = optind; a < argc; a++) {
			snprintf(path, sizeof path, "/marks/%s", argv[a]);
			if (open(path, O_RDONLY) >= 0)
				return 4;
			snprintf(line, sizeof line, "bytes-of-%s", argv[a]);
			if (!quiet && (write(fds[1], line, strlen(line)) < 0 || read(fds[0], line, sizeof line) < 0))
				return 5;
		}
	}
	return status;
}
