// Calls on processes, memory, time and signals, with flags and errors.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
struct sched_attr { unsigned size, policy; unsigned long long flags; int nice; unsigned priority; unsigned long long times[3]; unsigned util[2]; };
#include <linux/seccomp.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void handler(int sig) {}

int main(void)
{
	char buf[4096];
	void *bad = (void *)8;
	int status, n, i;
	pid_t pid;

	getpid(); getppid(); gettid(); getuid(); geteuid(); getgid(); getegid(); getpgid(0); getpgrp(); getsid(0); getpgid(-5);
	setpgid(0, 0); setpgid(-1, 5); 
	uid_t r, e, s; getresuid(&r, &e, &s); getresgid(&r, &e, &s); syscall(SYS_getresuid, bad, bad, bad);
	gid_t groups[4] = {0, 1, 2, 3}; setgroups(3, groups); getgroups(4, groups); getgroups(1, groups); getgroups(0, 0); setgroups(0, groups);
	syscall(SYS_setuid, 0); setreuid(-1, 0); setresuid(-1, -1, 0); setgid(0); setregid(0, -1); setresgid(0, 0, -1); syscall(SYS_setfsuid, 0); syscall(SYS_setfsgid, -1);
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0}; struct __user_cap_data_struct data[2];
	syscall(SYS_capget, &hdr, data); syscall(SYS_capset, &hdr, data); data[0].effective = 1 << CAP_KILL; data[1].effective = 0; syscall(SYS_capset, &hdr, data); syscall(SYS_capset, &hdr, data);
	hdr.version = 5; syscall(SYS_capget, &hdr, data); syscall(SYS_capget, &hdr, 0);
	personality(0xffffffff); 
	prctl(PR_SET_NAME, "short"); prctl(PR_SET_NAME, "a name that is too long"); prctl(PR_GET_NAME, buf); prctl(PR_SET_NAME, bad);
	prctl(PR_SET_PDEATHSIG, SIGTERM); prctl(PR_GET_PDEATHSIG, &n); prctl(PR_SET_PDEATHSIG, 0); prctl(PR_GET_PDEATHSIG, &n); prctl(PR_GET_DUMPABLE); prctl(PR_SET_DUMPABLE, 1); prctl(PR_CAPBSET_READ, CAP_CHOWN); prctl(PR_CAPBSET_READ, 99);
	prctl(PR_GET_KEEPCAPS); prctl(PR_GET_SECCOMP); prctl(PR_GET_TIMERSLACK); prctl(PR_SET_TIMERSLACK, 50000); prctl(PR_SET_CHILD_SUBREAPER, 1); prctl(PR_GET_CHILD_SUBREAPER, &n); prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); prctl(PR_GET_SECUREBITS); prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0); prctl(9999, 1, 2, 3, 4); prctl(PR_GET_TSC, &n); prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0); prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	syscall(SYS_arch_prctl, 0x1003, buf); syscall(SYS_arch_prctl, 0x1004, buf); syscall(SYS_arch_prctl, 0x9999, 1);
	/* scheduling */
	sched_yield(); struct sched_param sp = {0}; sched_getparam(0, &sp); sched_setscheduler(0, SCHED_BATCH, &sp); sched_getscheduler(0); sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &sp); sched_getscheduler(0); sched_setparam(0, &sp); sched_setscheduler(0, 77, bad); sched_setscheduler(0, 0, &sp);
	sched_get_priority_max(SCHED_FIFO); sched_get_priority_min(SCHED_RR); struct timespec ts; sched_rr_get_interval(0, &ts);
	struct sched_attr sa; syscall(SYS_sched_getattr, 0, &sa, sizeof sa, 0); syscall(SYS_sched_setattr, 0, &sa, 0); syscall(SYS_sched_getattr, 0, &sa, 5, 0);
	cpu_set_t set; sched_getaffinity(0, sizeof set, &set); sched_setaffinity(0, sizeof set, &set); CPU_ZERO(&set); sched_setaffinity(0, sizeof set, &set); syscall(SYS_sched_getaffinity, 0, 1, &set);
	getpriority(PRIO_PROCESS, 0); setpriority(PRIO_PROCESS, 0, 5); setpriority(PRIO_PROCESS, 0, 0); getpriority(77, 0);
	syscall(SYS_ioprio_get, 1, 0); syscall(SYS_ioprio_set, 1, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4)); syscall(SYS_ioprio_get, 1, 0); syscall(SYS_ioprio_set, 77, 0, 0xffff);
	unsigned cpu, node; syscall(SYS_getcpu, &cpu, &node, 0); syscall(SYS_getcpu, &cpu, 0, 0);
	/* limits */
	struct rlimit rl; getrlimit(RLIMIT_NOFILE, &rl); setrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = 2048; prlimit(0, RLIMIT_NOFILE, &rl, &rl); syscall(SYS_getrlimit, RLIMIT_STACK, &rl); syscall(SYS_setrlimit, RLIMIT_STACK, &rl); getrlimit(99, &rl); syscall(SYS_prlimit64, 0, RLIMIT_CORE, 0, &rl);
	struct rusage ru; getrusage(RUSAGE_SELF, &ru); getrusage(RUSAGE_CHILDREN, &ru); getrusage(77, &ru); struct tms tms; times(&tms); times(0);
	struct sysinfo si; sysinfo(&si); struct utsname un; uname(&un); uname(bad); sysinfo(bad);
	/* memory */
	char *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1, 0); mprotect(m, 4096, PROT_NONE); mprotect(m, 4096, PROT_READ | PROT_WRITE | PROT_EXEC); mprotect((void *)1, 5, 0x99);
	madvise(m, 4096, MADV_DONTNEED); madvise(m, 4096, MADV_HUGEPAGE); madvise(m, 4096, 7777); m[4096] = 1; mincore(m, 16384, buf); mincore(m, 5, bad); msync(m, 4096, MS_SYNC | MS_INVALIDATE); msync(m, 4096, 0x99);
	mlock(m, 4096); munlock(m, 4096); mlock2(m, 4096, MLOCK_ONFAULT); mlockall(MCL_CURRENT | MCL_ONFAULT); munlockall(); mremap(m, 65536, 131072, MREMAP_MAYMOVE); mremap(m, 1, 2, MREMAP_FIXED | MREMAP_MAYMOVE, (void *)1); munmap(m, 65536); munmap((void *)1, 5); mmap(0, 0, 0, 0, 99, 1); mmap((void *)0x10000000, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_LOCKED, -1, 0); brk(0); syscall(SYS_brk, 0);
	n = pkey_alloc(0, PKEY_DISABLE_WRITE); pkey_mprotect(m, 4096, PROT_READ, -1); pkey_free(n); syscall(SYS_membarrier, 0, 0, 0); syscall(SYS_membarrier, 16, 0, 0); syscall(SYS_membarrier, 9999, 1, 0); syscall(SYS_remap_file_pages, m, 4096, 0, 0, 0); syscall(SYS_memfd_secret, 0); syscall(SYS_userfaultfd, O_CLOEXEC | 1); unsigned long mask = 1; int mode; syscall(SYS_set_mempolicy, 0, 0, 0); syscall(SYS_get_mempolicy, &mode, &mask, 64, 0, 0); syscall(SYS_mbind, m, 4096, 1, &mask, 64, 0); syscall(SYS_move_pages, 0, 1, &m, 0, &n, 0); syscall(SYS_migrate_pages, 0, 64, &mask, &mask);
	/* time */
	struct timeval tv; syscall(SYS_gettimeofday, &tv, 0); struct timezone tz; syscall(SYS_gettimeofday, &tv, &tz); syscall(SYS_time, buf); syscall(SYS_time, 0); tv.tv_usec = -1; syscall(SYS_settimeofday, &tv, 0); syscall(SYS_clock_gettime, CLOCK_REALTIME, &ts); syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &ts); syscall(SYS_clock_gettime, 77, &ts); clock_getres(CLOCK_MONOTONIC, &ts); ts.tv_nsec = -1; syscall(SYS_clock_settime, CLOCK_MONOTONIC, &ts);
	struct timex tx = {0}; adjtimex(&tx); clock_adjtime(CLOCK_REALTIME, &tx); 
	ts = (struct timespec){0, 1000}; nanosleep(&ts, 0); nanosleep(&ts, &ts); nanosleep(bad, 0); clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, 0); clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &ts, 0); ts.tv_nsec = 2000000000; nanosleep(&ts, 0);
	alarm(100); alarm(0); struct itimerval it = {{0, 0}, {100, 5}}, oit; setitimer(ITIMER_REAL, &it, &oit); getitimer(ITIMER_REAL, &oit); it.it_value.tv_sec = it.it_value.tv_usec = 0; setitimer(ITIMER_REAL, &it, 0); setitimer(77, &it, 0); getitimer(ITIMER_PROF, &oit);
	timer_t t; struct sigevent sev = {.sigev_notify = SIGEV_NONE}; timer_create(CLOCK_MONOTONIC, &sev, &t); struct itimerspec its = {{1, 2}, {100, 4}}; timer_settime(t, 0, &its, &its); timer_gettime(t, &its); timer_getoverrun(t); timer_settime(t, TIMER_ABSTIME, &its, 0); timer_delete(t); sev.sigev_notify = SIGEV_SIGNAL; sev.sigev_signo = SIGUSR1; syscall(SYS_timer_create, CLOCK_REALTIME, &sev, &n); syscall(SYS_timer_delete, n); syscall(SYS_timer_delete, 99); syscall(SYS_timer_create, 77, 0, &n);
	int tfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); timerfd_settime(tfd, TFD_TIMER_ABSTIME, &its, &its); timerfd_gettime(tfd, &its); timerfd_settime(99, 0, &its, 0); timerfd_create(77, 0x99);
	/* signals */
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_NODEFER}; sigaddset(&act.sa_mask, SIGINT); sigaction(SIGUSR1, &act, 0); sigaction(SIGUSR1, 0, &act); act.sa_handler = SIG_IGN; act.sa_flags = SA_SIGINFO | SA_RESETHAND; sigaction(SIGUSR2, &act, &act); act.sa_handler = SIG_DFL; sigaction(SIGUSR2, &act, &act); syscall(SYS_rt_sigaction, 99, bad, 0, 8); syscall(SYS_rt_sigaction, SIGKILL, 0, buf, 4);
	sigset_t ss; sigfillset(&ss); sigdelset(&ss, SIGTERM); sigprocmask(SIG_BLOCK, &ss, 0); sigprocmask(SIG_SETMASK, 0, &ss); raise(SIGRTMIN + 3); sigpending(&ss); kill(getpid(), SIGUSR1); union sigval sv = {.sival_int = 7}; sigqueue(getpid(), SIGRTMIN + 5, sv); sigemptyset(&ss); sigaddset(&ss, SIGRTMIN + 5); siginfo_t info; ts = (struct timespec){1, 0}; sigtimedwait(&ss, &info, &ts); sigemptyset(&ss); sigaddset(&ss, SIGRTMIN + 3); sigwaitinfo(&ss, &info); ts.tv_sec = 0; sigtimedwait(&ss, 0, &ts); int sfd = signalfd(-1, &ss, SFD_CLOEXEC | SFD_NONBLOCK); signalfd(sfd, &ss, 0); syscall(SYS_rt_sigprocmask, 77, &ss, 0, 8); syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, 0, 8);
	sigemptyset(&ss); sigprocmask(SIG_SETMASK, &ss, 0); kill(0, 0); kill(-99999, 0); kill(getpid(), 99); syscall(SYS_tkill, gettid(), 0); syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1); syscall(SYS_tgkill, -1, 5, SIGHUP);
	stack_t st = {.ss_sp = buf, .ss_size = sizeof buf}, ost; sigaltstack(&st, &ost); sigaltstack(0, &ost); st.ss_flags = SS_DISABLE; sigaltstack(&st, 0); siginterrupt(SIGHUP, 1);
	/* children */
	fflush(0); if (!(pid = fork())) _exit(42); waitpid(pid, &status, 0); if (!(pid = fork())) { pause(); } kill(pid, SIGSTOP); waitpid(pid, &status, WUNTRACED); kill(pid, SIGCONT); waitpid(pid, &status, WCONTINUED); kill(pid, SIGTERM); waitid(P_PID, pid, &info, WEXITED | WNOWAIT); wait4(pid, &status, __WALL, &ru); wait4(-1, &status, WNOHANG, 0); waitid(P_ALL, 0, &info, WEXITED | WNOHANG); waitpid(-99999, 0, 0x99);
	if (!(pid = fork())) { execl("/none", "none", "arg", NULL); char *argv[] = {"true", "a\nb", "a very long argument that is longer than thirty-two bytes", 0}, *envp[] = {"A=b", 0}; execve("/bin/true", argv, envp); } waitpid(pid, &status, 0);
	if (!(pid = vfork())) _exit(1); wait(&status); int pfd = syscall(SYS_pidfd_open, getpid(), 0); syscall(SYS_pidfd_send_signal, pfd, 0, 0, 0); syscall(SYS_pidfd_getfd, pfd, 1, 0); syscall(SYS_pidfd_open, -1, 0x800); struct clone_args ca = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .pidfd = (long)&n, .parent_tid = (long)&i, .exit_signal = SIGCHLD}; if (!(pid = syscall(SYS_clone3, &ca, sizeof ca))) _exit(0); waitpid(pid, 0, 0); ca.flags = -1; syscall(SYS_clone3, &ca, sizeof ca); unshare(CLONE_FS | CLONE_FILES); unshare(0x99); setns(pfd, CLONE_NEWUTS); setns(99, 0);
	struct iovec lv = {buf, 10}, rv = {buf, 5}; process_vm_readv(getpid(), &lv, 1, &rv, 1, 0); process_vm_writev(getpid(), &lv, 1, &rv, 1, 0); process_vm_readv(-1, &lv, 1, &rv, 1, 1); syscall(SYS_kcmp, getpid(), getpid(), 0, 1, 2); syscall(SYS_process_madvise, pfd, &lv, 1, MADV_COLD, 0); syscall(SYS_process_mrelease, pfd, 0); syscall(SYS_set_robust_list, buf, 24); void *head; size_t len; syscall(SYS_get_robust_list, 0, &head, &len); syscall(SYS_get_robust_list, -1, 0, 0);
	/* futexes */
	int f = 1, f2 = 0; ts = (struct timespec){0, 1000}; syscall(SYS_futex, &f, FUTEX_WAIT, 0, &ts, 0, 0); syscall(SYS_futex, &f, FUTEX_WAIT, 1, &ts, 0, 0); syscall(SYS_futex, &f, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 5, 0, 0, 0); syscall(SYS_futex, &f, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 1, &ts, 0, -1); syscall(SYS_futex, &f, FUTEX_WAKE_BITSET, 1, 0, 0, 5); syscall(SYS_futex, &f, FUTEX_REQUEUE, 1, 2, &f2, 0); syscall(SYS_futex, &f, FUTEX_CMP_REQUEUE, 1, 2, &f2, 1); syscall(SYS_futex, &f, FUTEX_WAKE_OP, 1, 2, &f2, FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GT, 3)); syscall(SYS_futex, &f2, FUTEX_LOCK_PI, 0, &ts, 0, 0); syscall(SYS_futex, &f2, FUTEX_UNLOCK_PI, 0, 0, 0, 0); syscall(SYS_futex, &f2, FUTEX_TRYLOCK_PI_PRIVATE, 0, 0, 0, 0); syscall(SYS_futex, &f, 99, 1, 2, 3, 4); syscall(SYS_futex, bad, FUTEX_WAIT, 0, bad, 0, 0); syscall(SYS_futex_waitv, bad, 1, 0, 0, 0);
	/* IPC */
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600); void *sh = shmat(id, 0, SHM_RDONLY); shmdt(sh); shmctl(id, IPC_RMID, 0); shmget(1234567, 1, IPC_EXCL | IPC_CREAT | 0777); shmctl(shmget(1234567, 1, 0), IPC_RMID, 0); shmat(-1, bad, SHM_RND); shmdt(bad);
	id = semget(IPC_PRIVATE, 2, 0600); struct sembuf sb[2] = {{0, 1, 0}, {1, 0, IPC_NOWAIT | SEM_UNDO}}; semop(id, sb, 2); semtimedop(id, sb, 1, &ts); semctl(id, 0, GETVAL); semctl(id, 0, SETVAL, 5); semctl(id, 0, IPC_RMID); semop(-1, bad, 1); semget(77, -1, 0x99);
	id = msgget(IPC_PRIVATE, 0600); struct { long type; char text[50]; } msg = {5, "message"}; msgsnd(id, &msg, 7, IPC_NOWAIT); msgrcv(id, &msg, 50, 5, MSG_NOERROR); msgrcv(id, &msg, 50, 0, IPC_NOWAIT); msgctl(id, IPC_RMID, 0); msgsnd(-1, bad, 1, 0); msgget(5, 0);
	struct mq_attr ma = {0, 3, 100}; mqd_t q = mq_open("/swoll-oracle", O_RDWR | O_CREAT | O_NONBLOCK, 0600, &ma); mq_getattr(q, &ma); mq_send(q, "hello", 5, 3); unsigned prio; mq_receive(q, buf, 100, &prio); mq_receive(q, buf, 100, &prio); ma.mq_flags = O_NONBLOCK; mq_setattr(q, &ma, &ma); mq_notify(q, 0); mq_unlink("/swoll-oracle"); mq_open("/none", O_RDONLY); mq_close(q);
	/* polling */
	struct pollfd pf[3] = {{0, POLLIN}, {1, POLLOUT | POLLPRI}, {-1, POLLIN}}; poll(pf, 3, 0); poll(0, 0, 1); pf[0].fd = 99; poll(pf, 1, 0); ts = (struct timespec){0, 1000}; sigemptyset(&ss); sigaddset(&ss, SIGUSR1); ppoll(pf, 2, &ts, &ss); ppoll(pf, 2, 0, 0); poll(bad, 5, 0); fd_set rd, wr; FD_ZERO(&rd); FD_ZERO(&wr); FD_SET(1, &wr); FD_SET(2, &wr); tv = (struct timeval){1, 5}; syscall(SYS_select, 3, &rd, &wr, 0, &tv); FD_SET(99, &rd); tv.tv_usec = 0; tv.tv_sec = 0; syscall(SYS_select, 100, &rd, 0, 0, &tv); FD_ZERO(&rd); syscall(SYS_select, 3, &rd, 0, 0, &tv); syscall(SYS_select, -1, 0, 0, 0, 0); FD_SET(1, &wr); pselect(2, 0, &wr, 0, &ts, &ss); pselect(0, 0, 0, 0, &ts, 0);
	int ep = epoll_create1(EPOLL_CLOEXEC); epoll_create(5); epoll_create(0); int p[2]; pipe(p); struct epoll_event ev = {EPOLLIN | EPOLLET | EPOLLRDHUP, {.u64 = 0x123456789abcdef}}, evs[4]; epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev); epoll_ctl(ep, EPOLL_CTL_MOD, p[0], &ev); epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev); epoll_wait(ep, evs, 4, 0); write(p[1], "x", 1); epoll_wait(ep, evs, 4, 10); epoll_pwait(ep, evs, 4, 0, &ss); syscall(SYS_epoll_pwait2, ep, evs, 4, &ts, 0, 0); epoll_ctl(ep, EPOLL_CTL_DEL, p[0], 0); epoll_ctl(ep, 77, 5, bad); epoll_wait(99, evs, 4, 0); epoll_wait(ep, evs, 0, 0);
	/* the rest */
	getrandom(buf, 20, GRND_NONBLOCK); getrandom(buf, 40, 0); getrandom(bad, 5, 0x99); syscall(SYS_syslog, 10, 0, 0); syscall(SYS_syslog, 77, buf, 5); syscall(SYS_ptrace, 0x4206, -1, 0, 0); syscall(SYS_ptrace, 9999, 1, 2, 3); syscall(SYS_bpf, 0, buf, 0); syscall(SYS_bpf, 99, bad, 8); syscall(SYS_perf_event_open, bad, 0, -1, -1, 8); syscall(SYS_reboot, 1, 2, 3, 4); syscall(SYS_init_module, bad, 5, "params"); syscall(SYS_finit_module, 99, "params", 1); syscall(SYS_delete_module, "none", O_NONBLOCK); syscall(SYS_add_key, "user", "swoll", "payload", 7, -2); syscall(SYS_request_key, "user", "none", 0, -1); syscall(SYS_keyctl, 0, -3, 0); syscall(SYS_keyctl, 99, 1, 2, 3, 4); syscall(SYS_landlock_create_ruleset, 0, 0, 1); unsigned long fs = 13; syscall(SYS_landlock_create_ruleset, &fs, 8, 0); syscall(SYS_landlock_restrict_self, 99, 0); syscall(SYS_landlock_add_rule, 99, 1, bad, 0); syscall(SYS_kexec_file_load, 99, 98, 5, "line", 1); syscall(SYS_iopl, 9); syscall(SYS_ioperm, -1, 1, 1); syscall(SYS_modify_ldt, 5, bad, 1); struct sock_fprog prog = {1, bad}; syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &prog); n = SECCOMP_RET_KILL_PROCESS; syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &n); syscall(SYS_seccomp, 77, 5, bad); prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog); sethostname("x", -1); setdomainname(bad, 5); unsigned long ctx = 0; syscall(SYS_io_setup, 5, &ctx); syscall(SYS_io_getevents, ctx, 0, 1, buf, &ts); syscall(SYS_io_submit, ctx, 0, 0); syscall(SYS_io_destroy, ctx); syscall(SYS_io_destroy, 5); syscall(SYS_io_cancel, 5, bad, bad); syscall(SYS_io_uring_setup, 0, bad); syscall(SYS_io_uring_enter, 99, 1, 2, 1, 0, 8); syscall(SYS_io_uring_register, 99, 1, bad, 5); syscall(SYS_rseq, bad, 32, 0, 5);
	return 0;
}
