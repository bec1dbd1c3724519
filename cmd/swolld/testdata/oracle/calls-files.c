// Calls on files, with flags and errors.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <termios.h>
#include <unistd.h>
#include <utime.h>
#include <sched.h>

int main(void)
{
	char buf[8192], *bad = (char *)8;
	struct stat st;
	struct statfs fs;
	struct statx sx;
	int fd, fd2, p[2];
	loff_t off = 2, off2 = 1;

	mkdir("files", 0755);
	chdir("files");
	chdir("/nonexistent");
	getcwd(buf, sizeof buf);
	getcwd(buf, 2);
	fd = open("a", O_RDWR | O_CREAT | O_TRUNC, 0644);
	fd2 = open("b", O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_DSYNC, 04711);
	open("a", O_WRONLY | O_CREAT | O_EXCL, 0600);
	open(bad, O_RDONLY);
	open("a", O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
	open(".", O_TMPFILE | O_RDWR, 0600);
	open(".", O_PATH | 0x80000000);
	openat(AT_FDCWD, "a", O_RDONLY | O_NOATIME);
	openat(99, "a", O_RDONLY | O_SYNC | O_DIRECT);
	creat("c", 0);
	struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	syscall(SYS_openat2, AT_FDCWD, "a", &how, sizeof how);
	how.flags = O_CREAT | O_RDWR; how.mode = 0640; how.resolve = 0x8000;
	syscall(SYS_openat2, AT_FDCWD, "d", &how, sizeof how);
	write(fd, "hello, world\n", 13);
	write(fd, "\0\1\2\377\"\\\t\r\n\v\f\033[0m", 15);
	write(fd, "0123456789012345678901234567890123456789", 40);
	write(fd, bad, 5);
	write(fd, "", 0);
	pwrite(fd, "x", 1, 5000);
	lseek(fd, 0, SEEK_SET);
	lseek(fd, -1, SEEK_CUR);
	lseek(fd, 0, SEEK_DATA);
	lseek(fd, 0, 77);
	read(fd, buf, 10);
	read(fd, buf, sizeof buf);
	read(fd, buf, sizeof buf);
	read(fd, bad, 5);
	pread(fd, buf, 20, 3);
	struct iovec v[3] = {{buf, 5}, {buf + 100, 40}, {buf + 200, 100}};
	preadv(fd, v, 3, 0);
	preadv2(fd, v, 2, 1, RWF_NOWAIT | RWF_HIPRI);
	lseek(fd, 0, SEEK_SET);
	readv(fd, v, 3);
	readv(fd, v, -1);
	writev(fd, v, 2);
	writev(fd, (void *)bad, 2);
	v[1].iov_base = bad;
	writev(fd, v, 3);
	pwritev(fd, v, 1, 7);
	pwritev2(fd, v, 1, 7, RWF_DSYNC | RWF_APPEND);
	v[1].iov_base = buf;
	stat("a", &st); stat("/dev/null", &st); stat("nonexistent", &st); stat("a", (void *)bad);
	lstat("a", &st); fstat(fd, &st); fstat(99, &st);
	syscall(SYS_stat, "a", &st); syscall(SYS_lstat, "/proc/self/exe", &st); syscall(SYS_stat, "/dev/tty", &st);
	fstatat(AT_FDCWD, "a", &st, AT_SYMLINK_NOFOLLOW);
	fstatat(fd, "", &st, AT_EMPTY_PATH | AT_NO_AUTOMOUNT);
	statx(AT_FDCWD, "a", AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW, STATX_ALL, &sx);
	statx(AT_FDCWD, "a", 0, STATX_BTIME | STATX_MODE, &sx);
	statx(AT_FDCWD, "none", 0x40000000, 0x80000000, &sx);
	statfs(".", &fs); statfs("/proc", &fs); fstatfs(fd, &fs); statfs("none", &fs); statfs("/sys/fs/cgroup", &fs);
	syscall(SYS_ustat, st.st_dev, buf); syscall(SYS_ustat, 0xfffff, buf);
	access("a", R_OK | W_OK); access("none", F_OK); access("a", 0x99);
	faccessat(AT_FDCWD, "a", X_OK, 0);
	syscall(SYS_faccessat2, AT_FDCWD, "a", R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW);
	chmod("a", 0600); fchmod(fd, 02755); fchmodat(AT_FDCWD, "a", 01777, 0); chmod("none", 0);
	chown("a", 0, -1); lchown("a", -1, 0); fchown(fd, 1, 2); fchownat(AT_FDCWD, "a", 0, 0, AT_SYMLINK_NOFOLLOW);
	struct utimbuf ub = {1577836800, 1577836801};
	syscall(SYS_utime, "a", &ub); syscall(SYS_utime, "a", 0); syscall(SYS_utime, "a", bad);
	struct timeval tv[2] = {{1577836800, 5}, {1, 999999}};
	syscall(SYS_utimes, "a", tv); syscall(SYS_utimes, "none", tv); syscall(SYS_futimesat, AT_FDCWD, "a", tv);
	struct timespec ts[2] = {{1577836800, 5}, {0, UTIME_OMIT}};
	utimensat(AT_FDCWD, "a", ts, 0); ts[0].tv_nsec = UTIME_NOW; utimensat(AT_FDCWD, "a", ts, AT_SYMLINK_NOFOLLOW);
	futimens(fd, 0); ts[1] = (struct timespec){-5, 123456789}; futimens(fd, ts); ts[0].tv_nsec = -1; futimens(fd, ts);
	truncate("a", 100); ftruncate(fd, 200); truncate("none", -1); ftruncate(fd, -1);
	fallocate(fd, 0, 0, 4096); fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2); fallocate(fd, 0xff00, -1, 1);
	posix_fadvise(fd, 0, 10, POSIX_FADV_SEQUENTIAL); syscall(SYS_fadvise64, fd, 1, 2, 77);
	readahead(fd, 0, 4096);
	fsync(fd); fdatasync(fd); sync(); syncfs(fd); sync_file_range(fd, 0, 10, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	rename("b", "b2"); renameat(AT_FDCWD, "b2", AT_FDCWD, "b"); renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE);
	renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE | 0x100); rename("none", "x");
	link("a", "l"); linkat(AT_FDCWD, "a", AT_FDCWD, "l2", AT_SYMLINK_FOLLOW); link("none", "l3");
	symlink("a", "s"); symlinkat("a\n", AT_FDCWD, "s2"); symlink("a", "s");
	readlink("s", buf, 100); readlink("s2", buf, 1); readlink("a", buf, 100); readlinkat(AT_FDCWD, "s", buf, 100);
	unlink("l"); unlinkat(AT_FDCWD, "l2", 0); unlinkat(AT_FDCWD, "none", AT_REMOVEDIR); unlink("none");
	mkdirat(AT_FDCWD, "dir", 0700); mkdir("dir", 0700); rmdir("dir"); rmdir("none");
	mknod("fifo", S_IFIFO | 0600, 0); mknod("n", S_IFREG | 0644, 0); mknodat(AT_FDCWD, "dev", S_IFCHR | 0600, makedev(1, 3)); mknod("m", 0600, 5);
	umask(077); umask(022);
	dup(fd); dup2(fd, 50); dup3(fd, 51, O_CLOEXEC); dup2(fd, -1); dup3(fd, 52, 0x99); dup(99);
	close(50); close(51); close(99);
	fcntl(fd, F_DUPFD, 60); fcntl(fd, F_DUPFD_CLOEXEC, 61); fcntl(fd, F_GETFD); fcntl(61, F_GETFD); fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_GETFL); fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK); fcntl(99, F_GETFL); fcntl(fd, 7777, 5);
	struct flock fl = {F_WRLCK, SEEK_SET, 5, 10};
	fcntl(fd, F_SETLK, &fl); fcntl(fd, F_GETLK, &fl); fl.l_type = F_UNLCK; fcntl(fd, F_SETLKW, &fl); fl.l_type = 99; fcntl(fd, F_SETLK, &fl);
	fl = (struct flock){F_RDLCK, SEEK_CUR, -1, 0}; fcntl(fd, F_OFD_SETLK, &fl); fcntl(fd, F_OFD_GETLK, &fl); fcntl(fd, F_SETLK, bad);
	struct f_owner_ex owner = {F_OWNER_PID, getpid()};
	fcntl(fd, F_SETOWN_EX, &owner); fcntl(fd, F_GETOWN_EX, &owner); fcntl(fd, F_SETOWN, getpid()); fcntl(fd, F_GETOWN); fcntl(fd, F_SETOWN, 0);
	fcntl(fd, F_SETSIG, 10); fcntl(fd, F_GETSIG); fcntl(fd, F_SETSIG, 0); fcntl(fd, F_GETSIG);
	fcntl(fd, F_SETLEASE, F_RDLCK); fcntl(fd, F_GETLEASE); fcntl(fd, F_SETLEASE, F_UNLCK);
	fd2 = memfd_create("name", MFD_CLOEXEC | MFD_ALLOW_SEALING); fcntl(fd2, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW); fcntl(fd2, F_GET_SEALS);
	memfd_create("a name that is longer than what is shown of it", 0x9000); memfd_create(bad, 0);
	flock(fd, LOCK_EX | LOCK_NB); flock(fd, LOCK_UN); flock(fd, 77);
	pipe(p); pipe2(p, O_CLOEXEC | O_NONBLOCK); pipe((void *)bad); pipe2(p, 0x99);
	fcntl(p[0], F_GETPIPE_SZ); fcntl(p[0], F_SETPIPE_SZ, 8192);
	write(p[1], "pipe", 4); tee(p[0], p[1], 4, SPLICE_F_NONBLOCK); lseek(fd, 0, SEEK_SET);
	splice(fd, &off, p[1], 0, 3, SPLICE_F_MOVE); splice(p[0], 0, fd, &off, 2, SPLICE_F_MORE | SPLICE_F_NONBLOCK); splice(99, 0, 98, 0, 1, 0x99);
	vmsplice(p[1], v, 1, SPLICE_F_GIFT | SPLICE_F_NONBLOCK);
	copy_file_range(fd, &off, fd2, &off2, 3, 0); copy_file_range(fd, 0, fd2, 0, 3, 1);
	off = 0; fd2 = open("out", O_RDWR | O_CREAT, 0600); sendfile(fd2, fd, &off, 10); sendfile(fd2, fd, 0, 10); sendfile(99, fd, &off, 10); copy_file_range(fd, &off, fd2, 0, 3, 0);
	ioctl(fd, FIONREAD, p); ioctl(fd, TCGETS, buf); ioctl(1, TIOCGWINSZ, buf); ioctl(fd, 0x12345678, 5); ioctl(fd, FIOCLEX); ioctl(fd, FIONBIO, p); ioctl(99, TCGETS, buf);
	ioctl(fd, _IOWR('x', 5, int), bad); ioctl(fd, _IO('y', 200)); ioctl(fd, _IOR('z', 7, long), 0);
	int m = open("/dev/ptmx", O_RDWR | O_NOCTTY), zero = 0, n;
	ioctl(m, TIOCSPTLCK, &zero); ioctl(m, TIOCGPTN, &n);
	struct termios tio; struct winsize ws = {24, 80, 1, 2};
	ioctl(m, TCGETS, &tio); tio.c_lflag &= ~(ICANON | ECHO); tio.c_oflag = 0; tio.c_iflag = 0; ioctl(m, TCSETS, &tio); ioctl(m, TCSETSW, &tio); ioctl(m, TCSETSF, &tio);
	ioctl(m, TIOCSWINSZ, &ws); ioctl(m, TIOCGWINSZ, &ws); ioctl(m, TIOCOUTQ, &n); ioctl(m, TCFLSH, 2); ioctl(m, TCXONC, 1); ioctl(m, TCSBRK, 1); ioctl(m, TIOCGPGRP, &n); ioctl(m, TIOCGSID, &n); ioctl(m, TIOCEXCL); ioctl(m, TIOCNXCL); ioctl(m, TIOCGETD, &n);
	int d = open(".", O_RDONLY | O_DIRECTORY);
	syscall(SYS_getdents64, d, buf, sizeof buf); syscall(SYS_getdents64, d, buf, sizeof buf); lseek(d, 0, SEEK_SET); syscall(SYS_getdents, d, buf, sizeof buf); syscall(SYS_getdents64, fd, buf, 5); syscall(SYS_getdents64, d, buf, 5);
	fchdir(d); fchdir(99);
	setxattr("a", "user.name", "value", 5, XATTR_CREATE); lsetxattr("a", "user.n2", "\0\1", 2, 0); fsetxattr(fd, "bad", "v", 1, XATTR_REPLACE);
	getxattr("a", "user.name", buf, 100); lgetxattr("a", "user.none", buf, 100); fgetxattr(fd, "user.name", buf, 0); getxattr("a", "user.name", buf, 2);
	listxattr("a", buf, 1000); llistxattr("a", buf, 0); flistxattr(fd, buf, 1000); listxattr("none", buf, 5);
	removexattr("a", "user.name"); lremovexattr("a", "user.n2"); fremovexattr(fd, "user.none");
	int in = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), wd = inotify_add_watch(in, ".", IN_CREATE | IN_DELETE | IN_ONLYDIR); inotify_rm_watch(in, wd); inotify_rm_watch(in, 99); inotify_init(); inotify_add_watch(in, "none", 0x10000000);
	int fan = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY | O_LARGEFILE); fanotify_mark(fan, FAN_MARK_ADD, FAN_OPEN | FAN_CLOSE_WRITE, AT_FDCWD, "a"); fanotify_mark(fan, FAN_MARK_REMOVE | FAN_MARK_MOUNT, FAN_ONDIR, -1, 0);
	unshare(CLONE_NEWNS);
	mount("none", "/", 0, MS_REC | MS_PRIVATE, 0); mkdir("mnt", 0755); mount("tmpfs", "mnt", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=1m,mode=700"); mount("none", "none", "nonefs", MS_RDONLY | MS_REMOUNT | MS_BIND, 0); mount("mnt", "mnt", 0, MS_BIND, 0);
	umount2("mnt", MNT_DETACH); umount2("none", MNT_FORCE | UMOUNT_NOFOLLOW); umount("mnt");
	int fsfd = syscall(SYS_fsopen, "tmpfs", 1), mfd;
	syscall(SYS_fsconfig, fsfd, 1, "size", "1m", 0); syscall(SYS_fsconfig, fsfd, 0, "noswap", 0, 0); syscall(SYS_fsconfig, fsfd, 6, 0, 0, 0); mfd = syscall(SYS_fsmount, fsfd, 1, 8); syscall(SYS_move_mount, mfd, "", AT_FDCWD, "mnt", 4); syscall(SYS_fspick, AT_FDCWD, "mnt", 1); syscall(SYS_open_tree, AT_FDCWD, "mnt", 1); syscall(SYS_fsopen, "none", 9);
	syscall(SYS_pivot_root, "none", "none2"); chroot("none");
	swapon("none", SWAP_FLAG_PREFER | 5); swapoff("none"); syscall(SYS_quotactl, 0x800002 << 8, "none", 0, 0);
	struct file_handle *fh = (void *)buf; fh->handle_bytes = 128; name_to_handle_at(AT_FDCWD, "a", fh, &n, 0); open_by_handle_at(AT_FDCWD, fh, O_RDONLY); fh->handle_bytes = 0; name_to_handle_at(AT_FDCWD, "a", fh, &n, AT_SYMLINK_FOLLOW);
	syscall(SYS_sysfs, 3); syscall(SYS_close_range, 40, 59, 0); syscall(SYS_close_range, 5, 3, 4);
	eventfd(5, EFD_CLOEXEC | EFD_NONBLOCK); syscall(SYS_eventfd, 3); eventfd(0, EFD_SEMAPHORE | 0x100);
	acct("none"); syscall(SYS_lookup_dcookie, 5L, buf, 10);
	chdir(".."); umount2("files/mnt", MNT_DETACH); system("rm -rf files");
	return 0;
}
