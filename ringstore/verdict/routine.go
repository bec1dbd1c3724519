package verdict

import (
	"regexp"
	"strings"
)

// What programs do all the time, and what fails in doing so, says nothing about why one of
// them died. The error numbers that are routine for every call are in package syscalls;
// here are those of single calls, and the paths that libraries look for in vain.

// routineCalls are the failures that a call has in the normal course of things: to ask
// whether something is there or known is what it is called for.
var routineCalls = map[string][]string{
	"access":            {"ENOSYS"},
	"arch_prctl":        {"EINVAL", "ENODEV"},
	"clone3":            {"ENOSYS", "EPERM"},
	"close":             {"EBADF"},
	"close_range":       {"ENOSYS"},
	"copy_file_range":   {"ENOSYS", "EXDEV", "EINVAL", "EOPNOTSUPP"},
	"dup":               {"EBADF"},
	"epoll_ctl":         {"EEXIST", "ENOENT", "EPERM"},
	"faccessat2":        {"ENOSYS"},
	"fadvise64":         {"ESPIPE", "EINVAL"},
	"fallocate":         {"EOPNOTSUPP"},
	"fcntl":             {"EBADF", "EINVAL"},
	"fgetxattr":         {"EOPNOTSUPP"},
	"flistxattr":        {"EOPNOTSUPP"},
	"fstat":             {"EBADF"},
	"get_mempolicy":     {"ENOSYS", "EPERM"},
	"getcwd":            {"ERANGE"},
	"getpeername":       {"ENOTSOCK", "ENOTCONN"},
	"getrandom":         {"ENOSYS"},
	"getsockname":       {"ENOTSOCK"},
	"getsockopt":        {"ENOTSOCK", "ENOPROTOOPT", "EOPNOTSUPP", "EINVAL"},
	"getxattr":          {"EOPNOTSUPP", "ENOENT"},
	"io_uring_setup":    {"ENOSYS", "EPERM", "ENOMEM"},
	"ioctl":             {"EINVAL", "EOPNOTSUPP", "ENODEV"},
	"kill":              {"ESRCH"},
	"lgetxattr":         {"EOPNOTSUPP", "ENOENT"},
	"listxattr":         {"EOPNOTSUPP", "ENOENT"},
	"llistxattr":        {"EOPNOTSUPP", "ENOENT"},
	"lseek":             {"ESPIPE"},
	"madvise":           {"EINVAL", "ENOMEM"},
	"mbind":             {"ENOSYS", "EPERM"},
	"membarrier":        {"ENOSYS", "EINVAL", "EPERM"},
	"mkdir":             {"EEXIST"},
	"mkdirat":           {"EEXIST"},
	"newfstatat":        {"EBADF"},
	"openat2":           {"ENOSYS"},
	"perf_event_open":   {"ENOSYS", "EPERM", "EACCES"},
	"pidfd_open":        {"ENOSYS"},
	"prctl":             {"EINVAL"},
	"readlink":          {"EINVAL"},
	"readlinkat":        {"EINVAL"},
	"rmdir":             {"ENOENT", "ENOTEMPTY"},
	"rseq":              {"ENOSYS", "EINVAL", "EBUSY"},
	"rt_sigaction":      {"EINVAL"},
	"sched_setaffinity": {"EINVAL"},
	"seccomp":           {"EFAULT", "EINVAL"},
	"set_mempolicy":     {"ENOSYS", "EPERM"},
	"set_robust_list":   {"ENOSYS"},
	"setsockopt":        {"ENOPROTOOPT", "EOPNOTSUPP", "EINVAL"},
	"shutdown":          {"ENOTCONN"},
	"statx":             {"ENOSYS"},
	"symlink":           {"EEXIST"},
	"tgkill":            {"ESRCH"},
	"unlink":            {"ENOENT"},
	"unlinkat":          {"ENOENT"},
}

// Paths that are looked for by habit. A failure there counts only where the program's own
// last words name it.
var (
	routinePaths = map[string]bool{
		"/etc/gai.conf": true, "/etc/host.conf": true, "/etc/inputrc": true, "/etc/ld.so.cache": true,
		"/etc/ld.so.nohwcap": true, "/etc/ld.so.preload": true, "/etc/localtime": true, "/etc/nsswitch.conf": true,
		"/etc/selinux/config": true, "/etc/ssl/openssl.cnf": true, "/etc/suid-debug": true, "/etc/timezone": true,
		"/dev/tty": true, "/run/nscd/socket": true, "/var/run/nscd/socket": true, "/usr/lib/ssl/openssl.cnf": true,
		"/etc/netsvc.conf": true, "/etc/svc.conf": true, "/etc/malloc.conf": true, "/selinux": true,
	}
	routinePrefixes = []string{"/proc/", "/sys/", "/selinux/"}
	routineParts    = []string{
		"/locale", "/gconv/", "/charset.alias", "/glibc-hwcaps/", "/terminfo/", "/zoneinfo", "/nls/",
		"/pyvenv.cfg", "/pybuilddir.txt", "/__pycache__", "sitecustomize", "usercustomize", "site-packages",
		"dist-packages", "/Modules/Setup", "._pth", "/package.json", "/node_modules", "/.node_", "/openssl.cnf",
		"/.inputrc", "/.bashrc", "/.profile", "/.netrc", "/.terminfo",
	}
)

// optional are the files of a user's own settings.
var optional = regexp.MustCompile(`^/(root|home/[^/]+)/\.`)

// routineCall tells that a call fails like this in the normal course of things.
func routineCall(name, errno string) bool {
	for _, e := range routineCalls[name] {
		if e == errno {
			return true
		}
	}
	return false
}

// routinePath tells that libraries look for a path whether it is there or not.
func routinePath(path string) bool {
	if routinePaths[path] || path == "" {
		return true
	}
	for _, p := range routinePrefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	for _, p := range routineParts {
		if strings.Contains(path, p) {
			return true
		}
	}
	if optional.MatchString(path) {
		return true
	}
	// The archive that Python would have its modules in: python311.zip.
	return strings.HasSuffix(path, ".zip") && strings.Contains(path, "/python")
}
