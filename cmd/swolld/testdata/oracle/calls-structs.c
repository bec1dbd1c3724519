// Calls whose arguments point to structures, or have many forms, with flags and errors.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/perf_event.h>
#include <linux/if_packet.h>
#include <linux/rtc.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <mqueue.h>
#include <time.h>
#include <unistd.h>

#define call(name, ...) syscall(SYS_##name, ##__VA_ARGS__)

static void *bad = (void *)8;
static char buf[4096];

static void handler(int sig) {}

static void handles(void)
{
	struct { struct file_handle h; char data[128]; } h = {{0}};
	int n, dir = open("/tmp", O_RDONLY | O_DIRECTORY);

	name_to_handle_at(AT_FDCWD, "/etc/passwd", &h.h, &n, 0);
	h.h.handle_bytes = 128;
	name_to_handle_at(AT_FDCWD, "/etc/passwd", &h.h, &n, 0);
	open_by_handle_at(dir, &h.h, O_RDONLY);
	name_to_handle_at(AT_FDCWD, "/none", &h.h, &n, AT_SYMLINK_FOLLOW);
	name_to_handle_at(dir, "", bad, &n, AT_EMPTY_PATH);
	h.h.handle_bytes = 0; open_by_handle_at(dir, &h.h, O_RDONLY);
	open_by_handle_at(dir, bad, O_RDONLY);
	close(dir);
}

static void signals(void)
{
	struct sigaction act = {.sa_handler = handler};

	sigaction(SIGUSR1, &act, 0);
	raise(SIGUSR1);
	sigaddset(&act.sa_mask, SIGUSR2);
	sigprocmask(SIG_BLOCK, &act.sa_mask, 0);
	raise(SIGUSR1);
	sigfillset(&act.sa_mask); sigdelset(&act.sa_mask, SIGUSR1);
	sigprocmask(SIG_SETMASK, &act.sa_mask, 0);
	raise(SIGUSR1);
	sigemptyset(&act.sa_mask);
	sigprocmask(SIG_SETMASK, &act.sa_mask, 0);
}

static void ipc(void)
{
	struct shmid_ds sd; struct shminfo si; struct shm_info sf; struct msqid_ds md; struct semid_ds ed; struct seminfo ei;
	unsigned short values[3] = {1, 2, 3};
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

	shmctl(id, IPC_STAT, &sd); sd.shm_perm.mode = 0640; shmctl(id, IPC_SET, &sd); shmctl(id, SHM_LOCK, 0); shmctl(id, SHM_UNLOCK, 0);
	shmctl(0, IPC_INFO, (void *)&si); shmctl(0, SHM_INFO, (void *)&sf); shmctl(0, SHM_STAT, &sd); shmctl(id, IPC_STAT, bad); shmctl(id, IPC_SET, bad); shmctl(id, IPC_RMID, 0); shmctl(id, IPC_STAT, &sd); shmctl(id, 77, 0);
	id = msgget(IPC_PRIVATE, 0600);
	msgctl(id, IPC_STAT, &md); md.msg_qbytes = 100; msgctl(id, IPC_SET, &md); msgctl(0, IPC_INFO, (void *)buf); msgctl(0, MSG_INFO, (void *)buf); msgctl(0, MSG_STAT, &md); msgctl(id, IPC_STAT, bad); msgctl(id, IPC_RMID, 0); msgctl(id, IPC_SET, &md);
	id = semget(IPC_PRIVATE, 3, 0600);
	semctl(id, 0, IPC_STAT, &ed); ed.sem_perm.mode = 0400; semctl(id, 0, IPC_SET, &ed); semctl(0, 0, IPC_INFO, &ei); semctl(0, 0, SEM_INFO, &ei); semctl(0, 0, SEM_STAT, &ed); semctl(id, 0, SETALL, values); semctl(id, 0, GETALL, values); semctl(id, 1, GETPID, 0); semctl(id, 1, GETNCNT, 0); semctl(id, 1, SETVAL, 7); semctl(id, 0, IPC_STAT, bad); semctl(id, 0, IPC_RMID, 0); semctl(id, 9, GETVAL, 0);
	struct sigevent sev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value = {.sival_int = 5}};
	mqd_t q = mq_open("/swoll-structs", O_RDWR | O_CREAT, 0600, 0);
	call(mq_notify, q, &sev); sev.sigev_notify = SIGEV_NONE; call(mq_notify, q, &sev); call(mq_notify, q, 0); call(mq_notify, q, bad); sev.sigev_notify = 99; call(mq_notify, q, &sev);
	mq_close(q); mq_unlink("/swoll-structs");
	timer_t t; sev.sigev_notify = SIGEV_SIGNAL; call(timer_create, CLOCK_REALTIME, &sev, &t); call(timer_delete, t); sev.sigev_notify = SIGEV_THREAD_ID; sev._sigev_un._tid = gettid(); call(timer_create, CLOCK_MONOTONIC, &sev, &t); call(timer_delete, t); call(timer_create, CLOCK_BOOTTIME, 0, &t); call(timer_create, 77, bad, &t); sev.sigev_signo = 99; call(timer_create, CLOCK_REALTIME, &sev, &t);
}

static void traces(void)
{
	struct user_regs_struct regs; struct iovec iov = {&regs, sizeof regs}; siginfo_t info; unsigned long message; sigset_t set;
	int status; pid_t pid;

	fflush(0);
	call(ptrace, PTRACE_ATTACH, -1, 0, 0); call(ptrace, PTRACE_SEIZE, -1, 0, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD); call(ptrace, PTRACE_PEEKDATA, -1, 16, buf); call(ptrace, PTRACE_PEEKUSER, -1, 16, buf); call(ptrace, PTRACE_POKEDATA, -1, 16, 5); call(ptrace, PTRACE_POKEUSER, -1, 16, 5); call(ptrace, PTRACE_GETREGS, -1, 0, &regs); call(ptrace, PTRACE_GETREGSET, -1, 1, &iov); call(ptrace, PTRACE_SETREGSET, -1, 1, &iov); call(ptrace, PTRACE_GETSIGINFO, -1, 0, &info); call(ptrace, PTRACE_GETEVENTMSG, -1, 0, &message); call(ptrace, PTRACE_SETOPTIONS, -1, 0, PTRACE_O_EXITKILL | 0x8000000); call(ptrace, PTRACE_CONT, -1, 0, SIGUSR1); call(ptrace, PTRACE_SYSCALL, -1, 0, 0); call(ptrace, PTRACE_SINGLESTEP, -1, 0, 0); call(ptrace, PTRACE_DETACH, -1, 0, SIGCONT); call(ptrace, PTRACE_KILL, -1, 0, 0); call(ptrace, PTRACE_INTERRUPT, -1, 0, 0); call(ptrace, PTRACE_LISTEN, -1, 0, 0); call(ptrace, PTRACE_GETSIGMASK, -1, 8, &set); call(ptrace, PTRACE_SETSIGMASK, -1, 8, &set); call(ptrace, PTRACE_PEEKSIGINFO, -1, bad, buf); call(ptrace, PTRACE_GET_SYSCALL_INFO, -1, 88, buf); call(ptrace, PTRACE_SETSIGINFO, -1, 0, bad); call(ptrace, PTRACE_TRACEME, 0, 0, 0);
}

static void keys(void)
{
	long k = call(add_key, "user", "swoll", "payload", 7, KEY_SPEC_PROCESS_KEYRING);

	call(keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0); call(keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0); call(keyctl, KEYCTL_UPDATE, k, "more", 4); call(keyctl, KEYCTL_REVOKE, 99); call(keyctl, KEYCTL_CHOWN, k, -1, 0); call(keyctl, KEYCTL_SETPERM, k, 0x3f3f0000); call(keyctl, KEYCTL_DESCRIBE, k, buf, 100); call(keyctl, KEYCTL_CLEAR, KEY_SPEC_PROCESS_KEYRING); call(keyctl, KEYCTL_LINK, k, KEY_SPEC_THREAD_KEYRING); call(keyctl, KEYCTL_UNLINK, k, KEY_SPEC_THREAD_KEYRING); call(keyctl, KEYCTL_SEARCH, KEY_SPEC_PROCESS_KEYRING, "user", "swoll", 0); call(keyctl, KEYCTL_READ, k, buf, 100); call(keyctl, KEYCTL_READ, k, buf, 2); call(keyctl, KEYCTL_INSTANTIATE, k, "abc", 3, 0); call(keyctl, KEYCTL_NEGATE, k, 5, 0); call(keyctl, KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_NO_CHANGE); call(keyctl, KEYCTL_SET_TIMEOUT, k, 10); call(keyctl, KEYCTL_ASSUME_AUTHORITY, 0); call(keyctl, KEYCTL_GET_SECURITY, k, buf, 100); call(keyctl, KEYCTL_SESSION_TO_PARENT); call(keyctl, KEYCTL_REJECT, k, 5, 126, 0); call(keyctl, KEYCTL_INVALIDATE, k); call(keyctl, KEYCTL_GET_PERSISTENT, -1, KEY_SPEC_PROCESS_KEYRING); call(keyctl, KEYCTL_RESTRICT_KEYRING, k, "asymmetric", "x"); call(keyctl, KEYCTL_CAPABILITIES, buf, 2); call(keyctl, 99, 1, 2, 3, 4);
	call(request_key, "user", "none", 0, KEY_SPEC_PROCESS_KEYRING); call(request_key, bad, "none", "info", 0); call(add_key, "user", "d", bad, 7, 0);
}

static void rings(void)
{
	struct io_uring_params p = {0};
	int fd = call(io_uring_setup, 8, &p);

	call(io_uring_register, fd, 0, 0, 0); call(io_uring_register, fd, IORING_REGISTER_EVENTFD, &fd, 1); call(io_uring_register, fd, IORING_UNREGISTER_EVENTFD, 0, 0); int fds[2] = {0, -1}; call(io_uring_register, fd, IORING_REGISTER_FILES, fds, 2); call(io_uring_register, fd, IORING_UNREGISTER_FILES, 0, 0); struct iovec iov = {buf, 4096}; call(io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1); call(io_uring_enter, fd, 0, 0, IORING_ENTER_GETEVENTS, 0, 0); call(io_uring_enter, fd, 1, 0, 0, 0, 8);
	p.flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF; p.sq_thread_idle = 5; p.sq_thread_cpu = 9999; call(io_uring_setup, 8, &p); p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = 64}; call(io_uring_setup, 4, &p); p = (struct io_uring_params){.flags = IORING_SETUP_ATTACH_WQ, .wq_fd = fd}; call(io_uring_setup, 4, &p); call(io_uring_setup, 0, bad); close(fd);
	aio_context_t ctx = 0; call(io_setup, 4, &ctx); fd = open("/etc/passwd", O_RDONLY);
	struct iocb a = {.aio_data = 5, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (long)buf, .aio_nbytes = 100, .aio_offset = 3}, b = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = fd, .aio_buf = POLLIN}, *list[2] = {&a, &b}; struct io_event ev[4]; struct timespec ts = {0, 1000};
	call(io_submit, ctx, 1, list); call(io_getevents, ctx, 1, 4, ev, &ts); call(io_getevents, ctx, 0, 4, ev, 0); call(io_submit, ctx, 1, bad); call(io_submit, ctx, 0, list); call(io_submit, ctx, 2, list); call(io_cancel, ctx, &a, ev); call(io_pgetevents, ctx, 0, 4, ev, &ts, 0); call(io_destroy, ctx); call(io_destroy, 5); close(fd);
}

static void sandboxes(void)
{
	struct landlock_ruleset_attr ra = {.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE};
	int dir = open("/tmp", O_PATH), ll = call(landlock_create_ruleset, &ra, 8, 0);
	struct landlock_path_beneath_attr pa = {LANDLOCK_ACCESS_FS_EXECUTE, dir};

	call(landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION); call(landlock_create_ruleset, bad, 8, 0); call(landlock_add_rule, 99, LANDLOCK_RULE_PATH_BENEATH, &pa, 0); call(landlock_add_rule, 99, LANDLOCK_RULE_PATH_BENEATH, bad, 0); call(landlock_add_rule, 99, 77, &pa, 1); call(landlock_restrict_self, 99, 0);
	struct mount_attr ma = {MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, 1 << 18, dir};
	call(mount_setattr, -1, "none", AT_RECURSIVE, &ma, sizeof ma); call(mount_setattr, AT_FDCWD, "none", AT_EMPTY_PATH, bad, 32); call(mount_setattr, AT_FDCWD, "none", 0, &ma, 5); call(mount_setattr, AT_FDCWD, "none", 0, &ma, 40);
	struct futex_waitv wv[2] = {{1, (long)buf, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0}, {2, (long)buf + 4, FUTEX_32, 0}}; struct timespec ts = {0, 1000};
	call(futex_waitv, wv, 2, 0, 0, CLOCK_MONOTONIC); wv[0].val = wv[1].val = 0; call(futex_waitv, wv, 2, 0, &ts, CLOCK_MONOTONIC); call(futex_waitv, bad, 2, 0, 0, 0); call(futex_waitv, wv, 1, 5, bad, 77);
	int pfd = call(pidfd_open, getpid(), 0); struct iovec iov[2] = {{buf, 4096}, {bad, 5}}; call(process_madvise, pfd, iov, 1, MADV_COLD, 0); call(process_madvise, 99, iov, 2, MADV_PAGEOUT, 1); call(process_madvise, pfd, bad, 1, 77, 0); call(process_mrelease, pfd, 0); call(memfd_secret, 0); call(set_mempolicy_home_node, 0, 0, 0, 0); call(quotactl, QCMD(Q_GETQUOTA, USRQUOTA), "/dev/none", 0, buf); call(quotactl, QCMD(Q_SYNC, GRPQUOTA), 0, 0, 0); call(quotactl, QCMD(Q_QUOTAON, USRQUOTA), "/dev/none", 2, "/aquota"); call(quotactl, QCMD(Q_GETFMT, USRQUOTA), "/dev/none", 0, buf); call(quotactl, QCMD(Q_GETINFO, USRQUOTA), "/dev/none", 0, buf); call(quotactl_fd, dir, QCMD(Q_GETQUOTA, USRQUOTA), 0, buf);
	close(pfd); close(dir);
}

static void options(void)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), s6 = socket(AF_INET6, SOCK_DGRAM, 0), sv[2], one = 1, n; socklen_t len;
	struct timeval tv = {5, 500000}; struct ip_mreqn mn = {{htonl(0xe0000001)}, {0}, 1}; struct ipv6_mreq m6 = {IN6ADDR_LOOPBACK_INIT, 1}; struct group_req gr = {1}; struct ucred uc; struct tcp_info ti; struct packet_mreq pm = {1, PACKET_MR_PROMISC, 0}; struct tpacket_req tr = {4096, 1, 2048, 2}; struct tpacket_stats ps;
	((struct sockaddr_in *)&gr.gr_group)->sin_family = AF_INET; ((struct sockaddr_in *)&gr.gr_group)->sin_addr.s_addr = htonl(0xe0000001);

	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv); setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, 3); len = sizeof tv; getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &len); setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3); setsockopt(s, SOL_SOCKET, SO_MARK, &one, 4); setsockopt(s, SOL_SOCKET, SO_PRIORITY, &one, 4); setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &one, 4); len = 4; getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &n, &len); len = 4; getsockopt(s, SOL_SOCKET, SO_DOMAIN, &n, &len); len = 8; getsockopt(s, SOL_SOCKET, SO_COOKIE, buf, &len); len = 36; getsockopt(s, SOL_SOCKET, SO_MEMINFO, buf, &len); len = 100; getsockopt(s, SOL_SOCKET, 999, buf, &len); len = 12; getsockopt(s, SOL_SOCKET, SO_PEERCRED, &uc, &len);
	setsockopt(s, SOL_TCP, TCP_KEEPIDLE, &one, 4); setsockopt(s, SOL_TCP, TCP_CONGESTION, "cubic", 5); setsockopt(s, SOL_TCP, TCP_USER_TIMEOUT, &one, 4); setsockopt(s, SOL_TCP, TCP_QUICKACK, bad, 4); setsockopt(s, SOL_TCP, TCP_CORK, &one, 2); len = sizeof ti; getsockopt(s, SOL_TCP, TCP_INFO, &ti, &len); len = 4; getsockopt(s, SOL_TCP, TCP_MAXSEG, &n, &len); len = 16; getsockopt(s, SOL_TCP, TCP_CONGESTION, buf, &len);
	setsockopt(s, SOL_IP, IP_TTL, &one, 4); setsockopt(s, SOL_IP, IP_MTU_DISCOVER, &one, 4); setsockopt(s, SOL_IP, IP_RECVERR, &one, 4); setsockopt(s, SOL_IP, IP_MULTICAST_TTL, &one, 1); setsockopt(s, SOL_IP, IP_ADD_MEMBERSHIP, &mn, 8); setsockopt(s, SOL_IP, IP_ADD_MEMBERSHIP, &mn, sizeof mn); setsockopt(s, SOL_IP, IP_DROP_MEMBERSHIP, &mn, 3); setsockopt(s, SOL_IP, MCAST_JOIN_GROUP, &gr, sizeof gr); setsockopt(s, SOL_IP, IP_FREEBIND, &one, 4); len = 4; getsockopt(s, SOL_IP, IP_TOS, &n, &len); len = 4; getsockopt(s, SOL_IP, IP_MTU, &n, &len);
	setsockopt(s6, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &m6, sizeof m6); setsockopt(s6, SOL_IPV6, IPV6_RECVPKTINFO, &one, 4); setsockopt(s6, SOL_IPV6, IPV6_UNICAST_HOPS, &one, 4); setsockopt(s6, SOL_IPV6, IPV6_TCLASS, &one, 4); len = 4; getsockopt(s6, SOL_IPV6, IPV6_V6ONLY, &n, &len); len = 4; getsockopt(s6, SOL_IPV6, IPV6_MTU, &n, &len); setsockopt(s6, 17, 104, &one, 4); setsockopt(s6, SOL_RAW, 1, &one, 4); setsockopt(s6, 999, 1, &one, 4); setsockopt(s6, SOL_SOCKET, SO_DEBUG, 0, 0); setsockopt(s6, SOL_SOCKET, SO_SNDBUF, &one, -1);
	int pk = socket(AF_PACKET, SOCK_RAW, 0), nl = socket(AF_NETLINK, SOCK_RAW, 0); setsockopt(pk, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &pm, sizeof pm); setsockopt(pk, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &pm, 5); setsockopt(pk, SOL_PACKET, PACKET_RX_RING, &tr, sizeof tr); setsockopt(pk, SOL_PACKET, PACKET_VERSION, &one, 4); setsockopt(pk, SOL_PACKET, PACKET_FANOUT, &one, 4); len = sizeof ps; getsockopt(pk, SOL_PACKET, PACKET_STATISTICS, &ps, &len); len = 4; getsockopt(pk, SOL_PACKET, PACKET_VERSION, &n, &len); setsockopt(nl, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &one, 4); len = 8; getsockopt(nl, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, buf, &len); setsockopt(nl, SOL_NETLINK, NETLINK_EXT_ACK, &one, 4);
	socketpair(AF_UNIX, SOCK_STREAM, 0, sv); len = 12; getsockopt(sv[0], SOL_SOCKET, SO_PEERCRED, &uc, &len); len = 5; getsockopt(sv[0], SOL_SOCKET, SO_PEERCRED, &uc, &len); len = 100; getsockopt(sv[0], SOL_SOCKET, SO_PEERSEC, buf, &len); len = 0; getsockopt(s, SOL_SOCKET, SO_TYPE, &n, &len); getsockopt(s, SOL_SOCKET, SO_TYPE, bad, &len); getsockopt(s, SOL_SOCKET, SO_TYPE, &n, bad); len = 8; getsockopt(s, SOL_SOCKET, SO_LINGER, buf, &len);
}

static void programs(void)
{
	union bpf_attr a; int m;

	memset(&a, 0, sizeof a); a.map_type = BPF_MAP_TYPE_ARRAY; a.key_size = 4; a.value_size = 8; a.max_entries = 2; strcpy(a.map_name, "structs"); m = call(bpf, BPF_MAP_CREATE, &a, 72); call(bpf, BPF_MAP_CREATE, &a, 16); a.map_type = 99; call(bpf, BPF_MAP_CREATE, &a, 28);
	int key = 1; long value = 5; memset(&a, 0, sizeof a); a.map_fd = m; a.key = (long)&key; a.value = (long)&value; call(bpf, BPF_MAP_UPDATE_ELEM, &a, 32); a.flags = BPF_EXIST; call(bpf, BPF_MAP_UPDATE_ELEM, &a, 32); a.flags = 0; call(bpf, BPF_MAP_LOOKUP_ELEM, &a, 32); call(bpf, BPF_MAP_GET_NEXT_KEY, &a, 24); call(bpf, BPF_MAP_DELETE_ELEM, &a, 16); a.map_fd = -1; call(bpf, BPF_MAP_LOOKUP_ELEM, &a, 32); call(bpf, BPF_MAP_LOOKUP_ELEM, bad, 32); call(bpf, BPF_MAP_FREEZE, &a, 4);
	memset(&a, 0, sizeof a); a.pathname = (long)"/sys/fs/bpf/none"; a.bpf_fd = m; call(bpf, BPF_OBJ_GET, &a, 16); call(bpf, BPF_OBJ_PIN, &a, 12); a.pathname = (long)bad; call(bpf, BPF_OBJ_GET, &a, 16);
	memset(&a, 0, sizeof a); a.info.bpf_fd = -1; a.info.info_len = 80; a.info.info = (long)buf; call(bpf, BPF_OBJ_GET_INFO_BY_FD, &a, 16); memset(&a, 0, sizeof a); a.start_id = 1 << 30; call(bpf, BPF_MAP_GET_NEXT_ID, &a, 12); call(bpf, BPF_PROG_GET_FD_BY_ID, &a, 12); call(bpf, 99, &a, 12);
	struct bpf_insn insns[2] = {{0xb7}, {0x95}}; memset(&a, 0, sizeof a); a.prog_type = BPF_PROG_TYPE_SOCKET_FILTER; a.insns = (long)insns; a.insn_cnt = 2; a.license = (long)"GPL"; strcpy(a.prog_name, "structs"); call(bpf, BPF_PROG_LOAD, &a, 128); call(bpf, BPF_PROG_LOAD, &a, 48); close(m);
	struct perf_event_attr pe = {.type = PERF_TYPE_SOFTWARE, .size = sizeof pe, .config = PERF_COUNT_SW_CPU_CLOCK, .disabled = 1, .exclude_kernel = 1}; m = call(perf_event_open, &pe, 0, -1, -1, PERF_FLAG_FD_CLOEXEC); close(m); pe.size = 64; pe.freq = 1; pe.sample_freq = 99; pe.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_TID; call(perf_event_open, &pe, -5, 0, -1, 0); call(perf_event_open, bad, 0, 0, 0, 0x99);
}

static void controls(void)
{
	int n = 0, fd = open("/etc/passwd", O_RDONLY), t = open("structs.tmp", O_RDWR | O_CREAT, 0600);
	struct { struct fiemap m; struct fiemap_extent e[4]; } fm = {{0, ~0ull, FIEMAP_FLAG_SYNC, 0, 4}};

	memset(buf, 0, sizeof buf); write(t, buf, 100);
	ioctl(t, FS_IOC_FIEMAP, &fm); fm.m.fm_extent_count = 0; ioctl(t, FS_IOC_FIEMAP, &fm); fm.m.fm_flags = 0xff00; ioctl(t, FS_IOC_FIEMAP, &fm); ioctl(99, FS_IOC_FIEMAP, &fm); ioctl(t, FS_IOC_FIEMAP, bad);
	ioctl(t, FS_IOC_GETFLAGS, &n); n |= FS_NOATIME_FL; ioctl(t, FS_IOC_SETFLAGS, &n); ioctl(t, FS_IOC_GETFLAGS, &n); ioctl(t, FS_IOC_GETVERSION, &n); ioctl(t, FS_IOC_FSGETXATTR, buf); ioctl(t, FIGETBSZ, &n); ioctl(t, FITRIM, buf);
	struct file_clone_range cr = {fd, 0, 10, 20}; ioctl(t, FICLONERANGE, &cr); ioctl(t, FICLONE, fd); ioctl(t, BLKGETSIZE64, buf); ioctl(t, BLKSSZGET, &n); ioctl(t, BLKROGET, &n);
	int s = socket(AF_INET, SOCK_DGRAM, 0); struct ifreq r; memset(&r, 0, sizeof r); strcpy(r.ifr_name, "lo"); ioctl(s, SIOCGIFMETRIC, &r); r.ifr_mtu = 65536; ioctl(s, SIOCSIFMTU, &r); ioctl(s, SIOCGIFDSTADDR, &r); ioctl(s, SIOCGIFHWADDR, &r); ioctl(s, 0x89a1, "swoll0"); ioctl(s, SIOCGIFFLAGS, &r); ioctl(s, 0x8906, buf); ioctl(s, TIOCOUTQ, &n); r.ifr_ifindex = 1; ioctl(s, SIOCGIFNAME, &r); struct ifconf c = {sizeof buf, {buf}}; ioctl(s, SIOCGIFCONF, &c);
	int m = open("/dev/ptmx", O_RDWR | O_NOCTTY); n = 0; ioctl(m, TIOCSPTLCK, &n); ioctl(m, TIOCGPTLCK, &n); ioctl(m, TIOCGPKT, &n); ioctl(m, TIOCPKT, &n); int p = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY); ioctl(p, TIOCMGET, &n); ioctl(p, TIOCGSOFTCAR, &n); ioctl(p, _IOR('T', 0x2a, char[44]), buf); ioctl(p, _IOW('T', 0x2b, char[44]), buf); ioctl(p, TIOCLINUX, buf); ioctl(p, TIOCGDEV, &n); ioctl(p, TIOCSIG, 2); ioctl(p, TCSBRKP, 1); ioctl(p, TIOCCONS); ioctl(p, TIOCSBRK); ioctl(p, TIOCCBRK); ioctl(p, TIOCGRS485, buf);
	int ns = open("/proc/self/ns/net", O_RDONLY); ioctl(ns, NS_GET_USERNS); ioctl(ns, NS_GET_PARENT); ioctl(ns, NS_GET_OWNER_UID, &n);
	ioctl(99, LOOP_GET_STATUS64, buf); ioctl(99, LOOP_SET_FD, 5); ioctl(99, LOOP_CLR_FD); ioctl(99, LOOP_CTL_GET_FREE); ioctl(99, RTC_RD_TIME, buf); ioctl(99, PERF_EVENT_IOC_ENABLE, 0); ioctl(99, PERF_EVENT_IOC_SET_BPF, 5);
	unsigned short sz[3]; call(seccomp, SECCOMP_GET_NOTIF_SIZES, 0, sz); call(set_mempolicy, 0, buf, 1025); call(get_mempolicy, &n, buf, 1025, 0, 0); struct sockaddr_nl nl = {AF_NETLINK}; bind(socket(AF_NETLINK, SOCK_RAW, 0), (void *)&nl, sizeof nl); nl.nl_groups = 0x12345; bind(99, (void *)&nl, sizeof nl);
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_INTERRUPT | SA_ONSTACK}; sigaction(SIGUSR2, &act, 0);
	/* Requests of drivers: their names, and what two of them have in common. */
	static const unsigned codes[] = {0xae80, 0xae00, 0x2285, 0x301, 0x5309, 0x5603, 0x5607, 0x4b3a, 0x80085200, 0x80044501, 0x40049409, 0x5413, 0x89a2, 0x125d, 0x1261, 0x7002, 0x4c80, 0x2401, 0x5000, 0x5011, 0x5401, 0x541e, 0x7501, 0x80047476, 0xc0347600, 0x4004667e, 0x89f0, 0x12345678};
	for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
		ioctl(99, codes[i], 0x1234);
	unlink("structs.tmp");
}

int main(void)
{
	unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET);
	handles(); signals(); ipc(); traces(); keys(); rings(); sandboxes(); options(); programs(); controls();
	return 0;
}
