package syscalls

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
)

// eachLine calls f with the fields of the lines of a fixture.
func eachLine(t *testing.T, path string, f func(fields []string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for scan := bufio.NewScanner(file); scan.Scan(); {
		if fields := strings.Fields(scan.Text()); len(fields) > 0 && fields[0] != "#" {
			f(fields)
			n++
		}
	}
	if n < 100 {
		t.Fatalf("%s has only %d lines", path, n)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// allTables are the tables there are.
var allTables = []struct {
	arch string
	abi  ringstore.ABI
	name string
}{
	{"amd64", ringstore.ABINative, "x86_64"},
	{"amd64", ringstore.ABI32, "i386"},
	{"amd64", ringstore.ABIX32, "x32"},
	{"arm64", ringstore.ABINative, "arm64"},
}

func TestEveryNumberOfTheHeaderHasItsName(t *testing.T) {
	eachLine(t, "testdata/unistd_64.txt", func(f []string) {
		nr := atoi(t, f[1])
		c := Lookup("amd64", ringstore.ABINative, uint16(nr))
		if c == nil || c.Name != f[0] {
			t.Errorf("%d is not %s: %v", nr, f[0], c)
		}
	})
}

func TestArgumentsAreThoseOfTheTracepoints(t *testing.T) {
	// The tracepoints have the names of functions.
	names := map[string]string{"newstat": "stat", "newfstat": "fstat", "newlstat": "lstat", "newuname": "uname", "sendfile64": "sendfile", "umount": "umount2"}
	eachLine(t, "testdata/tracepoints.txt", func(f []string) {
		name := f[0]
		if names[name] != "" {
			name = names[name]
		}
		var c *Call
		for _, row := range Table("amd64", ringstore.ABINative) {
			if row != nil && row.Name == name {
				c = row
			}
		}
		if c == nil {
			t.Errorf("no row for %s", name)
		} else if want := atoi(t, f[1]); c.NArgs != want && (c.Flags&Stack == 0 || want != 0) {
			t.Errorf("%s has %d arguments, its tracepoint %s", name, c.NArgs, f[1])
		}
	})
}

// TestNewestCalls pins the calls that were added up to Linux 6.18.
func TestNewestCalls(t *testing.T) {
	want := map[uint16]string{335: "uretprobe", 336: "uprobe", 449: "futex_waitv", 453: "map_shadow_stack", 462: "mseal", 467: "open_tree_attr", 468: "file_getattr", 469: "file_setattr"}
	for nr, name := range want {
		if c := Lookup("amd64", ringstore.ABINative, nr); c == nil || c.Name != name {
			t.Errorf("%d is not %s", nr, name)
		}
	}
	for _, nr := range []uint16{337, 423, 470, 0xffff} {
		if c := Lookup("amd64", ringstore.ABINative, nr); c != nil {
			t.Errorf("%d is %s", nr, c.Name)
		}
	}
	for _, x := range allTables {
		if n := len(Table(x.arch, x.abi)); n > 1024 {
			t.Errorf("%s has %d numbers: too many for SWOLL_CALLS", x.name, n)
		}
	}
}

func TestSameCallOfOtherArchitectures(t *testing.T) {
	for _, x := range []struct {
		arch string
		abi  ringstore.ABI
		nr   uint16
		name string
		args int
	}{
		{"amd64", ringstore.ABI32, 3, "read", 3},
		{"amd64", ringstore.ABI32, 11, "execve", 3},
		{"amd64", ringstore.ABI32, 90, "mmap", 1},
		{"amd64", ringstore.ABI32, 120, "clone", 5},
		{"amd64", ringstore.ABI32, 180, "pread64", 5},
		{"amd64", ringstore.ABI32, 192, "mmap2", 6},
		{"amd64", ringstore.ABI32, 359, "socket", 3},
		{"amd64", ringstore.ABI32, 422, "futex_time64", 6},
		{"amd64", ringstore.ABIX32, 520, "execve", 3},
		{"arm64", ringstore.ABINative, 56, "openat", 4},
		{"arm64", ringstore.ABINative, 63, "read", 3},
		{"arm64", ringstore.ABINative, 221, "execve", 3},
		{"arm64", ringstore.ABINative, 469, "file_setattr", 5},
	} {
		c := Lookup(x.arch, x.abi, x.nr)
		if c == nil || c.Name != x.name || c.NArgs != x.args {
			t.Errorf("%s %d %d is not %s with %d arguments: %v", x.arch, x.abi, x.nr, x.name, x.args, c)
		}
	}
	if Table("riscv64", ringstore.ABINative) != nil || Table("arm64", ringstore.ABI32) != nil {
		t.Error("a table for what is not known")
	}
}

// TestRowsAreSound checks every row of every table against what the recorder and the
// rendering rely on.
func TestRowsAreSound(t *testing.T) {
	for _, x := range allTables {
		for nr, c := range Table(x.arch, x.abi) {
			if c == nil {
				continue
			}
			bad := func(format string, args ...any) {
				t.Helper()
				t.Errorf("%s %d %s: "+format, append([]any{x.name, nr, c.Name}, args...)...)
			}
			if c.Name == "" || c.Class == "" || c.Group == "" || c.NArgs > 6 {
				bad("incomplete")
			}
			forms := []Variant{{Args: c.Args, Ret: c.Ret}}
			for _, f := range append(forms, c.Variants...) {
				seen := map[int]bool{}
				names := map[string]bool{}
				for _, a := range f.Args {
					if a.Index < 0 || a.Index >= c.NArgs || a.Name == "" {
						bad("argument %q has index %d", a.Name, a.Index)
					}
					if seen[a.Index] || names[a.Name] {
						bad("argument %d %s is there twice", a.Index, a.Name)
					}
					seen[a.Index], names[a.Name] = true, true
					if a.Count < CountOne && int(a.Count) >= c.NArgs {
						bad("%s is counted by argument %d", a.Name, a.Count)
					}
					switch a.Format {
					case FormatFlags, FormatValue, FormatIoctl, FormatEthProto:
						if a.Set == nil {
							bad("%s has no set", a.Name)
						}
					case FormatStruct, FormatArray, FormatClone3:
						if a.Struct == nil {
							bad("%s has no struct", a.Name)
						}
					}
				}
				if (f.Ret.Format == RetFlags || f.Ret.Format == RetName || f.Ret.Format == RetHexName) && f.Ret.Set == nil {
					bad("the result has no set")
				}
			}
			exits := false
			if len(c.Rules) > 10 {
				bad("%d rules", len(c.Rules))
			}
			for _, r := range c.Rules {
				if exits && r.Flags&AtExit == 0 {
					bad("a rule of the entry behind one of the exit")
				}
				exits = exits || r.Flags&AtExit != 0
				if int(r.Arg) >= c.NArgs || r.Count < CountInside && int(r.Count) >= c.NArgs || (r.Count == CountInside) && r.Flags&RuleAt == 0 {
					bad("rule %+v is about arguments that it has not", r)
				}
				if r.How == HowBytes && r.Size == 0 || r.How < HowString || r.How > HowMsgbuf {
					bad("rule %+v", r)
				}
				if r.Count == CountReturn && r.Flags&AtExit == 0 {
					bad("rule %+v counts the result before there is one", r)
				}
				if c.Flags&Exec != 0 && r.Flags&AtExit != 0 {
					bad("reads memory after exec")
				}
			}
		}
	}
}

func TestRules(t *testing.T) {
	for name, want := range map[string][]Rule{
		"read":       {{HowBytes, 1, CountReturn, Data | AtExit, 1, 0, 0}},
		"write":      {{HowBytes, 1, 2, Data, 1, 0, 0}},
		"openat":     {{HowString, 1, CountOne, 0, 0, 0, 0}},
		"rename":     {{HowString, 0, CountOne, 0, 0, 0, 0}, {HowString, 1, CountOne, 0, 0, 0, 0}},
		"execve":     {{HowString, 0, CountOne, 0, 0, 0, 0}, {HowStrings, 1, CountOne, 0, 0, 0, 0}, {HowPointers, 2, CountOne, 0, 0, 0, 0}},
		"connect":    {{HowSockaddr, 1, 2, 0, 1, 0, 0}},
		"sendto":     {{HowBytes, 1, 2, Data, 1, 0, 0}, {HowSockaddr, 4, 5, 0, 1, 0, 0}},
		"accept":     {{HowBytes, 2, CountOne, 0, 4, 0, 0}, {HowSockaddr, 1, 2, AtExit, 1, 0, 0}, {HowBytes, 2, CountOne, AtExit, 4, 0, 0}},
		"recvfrom":   {{HowBytes, 5, CountOne, 0, 4, 0, 0}, {HowBytes, 1, CountReturn, Data | AtExit, 1, 0, 0}, {HowSockaddr, 4, 5, AtExit, 1, 0, 0}, {HowBytes, 5, CountOne, AtExit, 4, 0, 0}},
		"writev":     {{HowBytes, 1, 2, 0, 16, 0, 0}, {HowIovec, 1, 2, Data, 0, 0, 0}},
		"readv":      {{HowBytes, 1, 2, 0, 16, 0, 0}, {HowIovec, 1, 2, Data | AtExit, 0, 0, 0}},
		"pipe2":      {{HowBytes, 0, CountOne, AtExit, 8, 0, 0}},
		"poll":       {{HowBytes, 0, 1, 0, 8, 0, 0}, {HowBytes, 0, 1, AtExit, 8, 0, 0}},
		"epoll_wait": {{HowBytes, 1, CountReturn, AtExit, 12, 0, 0}},
		"nanosleep":  {{HowBytes, 0, CountOne, 0, 16, 0, 0}},
		"wait4":      {{HowBytes, 1, CountOne, AtExit, 4, 0, 0}, {HowBytes, 3, CountOne, AtExit, 32, 0, 0}},
		"mount":      {{HowString, 0, CountOne, 0, 0, 0, 0}, {HowString, 1, CountOne, 0, 0, 0, 0}, {HowString, 2, CountOne, 0, 0, 0, 0}, {HowString, 4, CountOne, 0, 0, 0, 0}},
		"getppid":    nil,
		"close":      nil,
	} {
		c := ByName("amd64", name)
		if c == nil {
			t.Fatalf("no %s", name)
		}
		if diff := cmp.Diff(want, c.Rules); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	// Structures of 32-bit programs that the table does not describe are not read.
	for name, want := range map[string]int{"sysinfo": 0, "nanosleep": 1, "writev": 2, "write": 1, "openat": 1, "poll": 2} {
		for _, c := range Table("amd64", ringstore.ABI32) {
			if c != nil && c.Name == name && len(c.Rules) != want {
				t.Errorf("i386 %s has %d rules, not %d", name, len(c.Rules), want)
			}
		}
	}
	for _, c := range Table("arm64", ringstore.ABINative) {
		if c != nil && c.Name == "epoll_pwait" && c.Rules[1].Size != 16 {
			t.Errorf("struct epoll_event of arm64 is not 16 bytes: %+v", c.Rules)
		}
	}
}

func TestCallFlags(t *testing.T) {
	for name, want := range map[string]CallFlags{
		"execve": Life | Exec, "clone": Life, "exit_group": Life, "kill": Life, "mount": Life, "connect": Life | Renames, "bind": Life | Renames,
		"listen": Life | Renames, "pipe2": Pair, "fchdir": Cwd, "setuid": Life | Cred, "setgroups": Life | Cred, "prctl": Cred, "read": 0, "openat": 0, "accept": 0,
	} {
		if c := ByName("amd64", name); c == nil || c.Flags != want {
			t.Errorf("%s: %+v, want flags %d", name, c, want)
		}
	}
}

func TestRoutine(t *testing.T) {
	for _, name := range []string{"EAGAIN", "EINTR", "ETIMEDOUT", "EINPROGRESS"} {
		if n := ErrnoNumber(name); n == 0 || !Routine(n) {
			t.Errorf("%s is not routine", name)
		}
	}
	for n := 512; n <= 516; n++ {
		if name, _ := Restart(n); name != "" && !Routine(n) {
			t.Errorf("%s is not routine", name)
		}
	}
	for _, name := range []string{"ENOENT", "EACCES", "EPERM", "ECONNREFUSED", "ENOMEM", "ENOSPC", "EMFILE", "EPIPE", "EFAULT"} {
		if Routine(ErrnoNumber(name)) {
			t.Errorf("%s is routine", name)
		}
	}
}

// TestShape follows a call whose arguments depend on one of them.
func TestShape(t *testing.T) {
	names := func(args ...uint64) string {
		shown, ret := ByName("amd64", "fcntl").Shape(args)
		s := strconv.Itoa(int(ret.Format))
		for _, a := range shown {
			s += " " + a.Name + ":" + strconv.Itoa(int(a.Format))
		}
		return s
	}
	plain := names(3, 9999, 0)
	if setfd := names(3, 2, 1); setfd == plain || setfd != names(7, 2, 0) {
		t.Errorf("F_SETFD is shown as %s", setfd)
	}
	if getfl := names(3, 3); getfl == plain {
		t.Errorf("F_GETFL is shown as any other: %s", getfl)
	}
	if n := names(); n != names(0, 0) {
		t.Errorf("without arguments it is not F_DUPFD: %s", n)
	}
}
