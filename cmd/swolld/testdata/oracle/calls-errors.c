// Every call that can be made without harm, with arguments that are all wrong.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int harmful(long nr, long value)
{
	switch (nr) {
	case SYS_exit: case SYS_exit_group: case SYS_vhangup: case SYS_rt_sigreturn: case SYS_pause:
	case SYS_fork: case SYS_vfork: case SYS_clone: case SYS_kexec_load: case SYS_acct:
	case SYS_restart_syscall: case SYS_msgrcv: case SYS_msgget: case SYS_semget: case SYS_shmget:
		return 1;
	}
	if (value)
		return 0;
	switch (nr) {
	case SYS_select: case SYS_pselect6: case SYS_ppoll: case SYS_seccomp: case SYS_close: case SYS_close_range:
	case SYS_ptrace:
		return 1;
	}
	return 0;
}

int main(void)
{
	/* Bits that have got a name since strace 6.1 are left out. */
	static const long values[] = {-1, 0, 0x1000, 0x7fff00000001};

	unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET);
	for (int i = 0; i < 4; i++) {
		long v = values[i];

		for (long nr = 0; nr < 451; nr++)
			if ((nr < 335 || nr >= 424) && !harmful(nr, v))
				syscall(nr, v, v, v, v, v, v);
	}
	syscall(400, 1, 2, 3);
	syscall(600, 1, 2, 3);
	return 0;
}
