package recorder

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A capability is a privilege that the service must have, see capabilities(7).
type capability struct {
	bit    uint
	name   string
	reason string // what it is needed for
}

// neededCapabilities is all that the recorder asks for. deploy/ grants exactly this.
//
// It reads nothing of /proc/PID that takes CAP_SYS_PTRACE, which would make it the master
// of every process. It mounts a bpffs only where it may and there is none, so it goes
// without CAP_SYS_ADMIN; and as root's process that owns its files, without those that
// override their modes.
var neededCapabilities = []capability{
	{unix.CAP_BPF, "CAP_BPF", "makes the maps and loads the programs that record"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "lets the programs read what system calls point to, and attaches them"},
}

// initialUserNamespace is the inode of /proc/PID/ns/user of the user namespace that the
// machine starts with, PROC_USER_INIT_INO in the kernel.
const initialUserNamespace = 0xEFFFFFFD

// checkCapabilities names what this process may not do but must, all of it in one line.
func checkCapabilities() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("reading the capabilities of this process: %w", err)
	}
	if err := missingCapabilities(uint64(data[1].Effective)<<32 | uint64(data[0].Effective)); err != nil {
		return err
	}
	// In another user namespace the set above is what the process may do to that namespace.
	if info, err := os.Stat("/proc/self/ns/user"); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Ino != initialUserNamespace {
			return fmt.Errorf("missing privileges: the capabilities of this process hold in its own user namespace only, which the kernel does not accept for eBPF. Try: outside of it; in a pod, without hostUsers: false")
		}
	}
	return nil
}

// missingCapabilities is the error for a process with this effective set; nil if it has
// all that is needed.
func missingCapabilities(effective uint64) error {
	has := func(bit uint) bool { return effective>>bit&1 == 1 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil // the kernel takes it for each of them
	}
	var missing, names []string
	for _, c := range neededCapabilities {
		if !has(c.bit) {
			missing = append(missing, c.name+" ("+c.reason+")")
			names = append(names, c.name)
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("missing privileges: %s. Try: run as root, or grant %s: in a pod in securityContext.capabilities.add, in a systemd unit in CapabilityBoundingSet",
		strings.Join(missing, " and "), strings.Join(names, " "))
}
