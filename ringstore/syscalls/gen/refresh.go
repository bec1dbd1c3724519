package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// architectures of kernel.txt, and how the numbers of each are found: the header to
// preprocess and what to define for it.
var architectures = []struct {
	name   string
	header string
	flags  []string
}{
	{"x86_64", "asm/unistd_64.h", nil},
	{"x32", "asm/unistd_x32.h", []string{"-D__X32_SYSCALL_BIT=0"}},
	{"i386", "asm/unistd_32.h", nil},
	{"arm64", "asm/unistd.h", []string{"-U__x86_64__", "-U__i386__", "-D__aarch64__", "-D__LP64__"}},
}

// supplement is the parsed supplement.txt.
type supplement struct {
	numbers map[string]map[string]int // architecture (or *) to name to number
	aliases map[string]string
	args    map[string]string // [arch:]name to arguments
}

func readSupplement(path string) (*supplement, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &supplement{map[string]map[string]int{}, map[string]string{}, map[string]string{}}
	for n, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case f[0] == "nr" && len(f) == 4:
			nr, err := strconv.Atoi(f[2])
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
			}
			if s.numbers[f[1]] == nil {
				s.numbers[f[1]] = map[string]int{}
			}
			s.numbers[f[1]][f[3]] = nr
		case f[0] == "alias" && len(f) == 3:
			s.aliases[f[1]] = f[2]
		case f[0] == "args" && len(f) >= 2:
			s.args[f[1]] = strings.Join(f[2:], " ")
		default:
			return nil, fmt.Errorf("%s:%d: not understood: %s", path, n+1, line)
		}
	}
	return s, nil
}

// refresh writes kernel.txt anew, from the tracepoints of the running kernel, the
// headers installed here and the supplement.
func refresh(out, supplementPath, tracefs, arm64 string) error {
	extra, err := readSupplement(supplementPath)
	if err != nil {
		return err
	}
	traced, err := tracepoints(tracefs)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Every system call: architecture, number, name, arguments. Written by")
	fmt.Fprintln(&b, "# `go run ./gen -refresh`; what a kernel does not tell is in gen/supplement.txt.")
	for _, a := range architectures {
		flags := a.flags
		if a.name == "arm64" {
			flags = append([]string{"-nostdinc", "-I" + arm64}, flags...)
		}
		numbers, err := headerNumbers(a.header, flags)
		if err != nil {
			return fmt.Errorf("numbers of %s: %w", a.name, err)
		}
		for _, key := range []string{a.name, "*"} {
			for name, nr := range extra.numbers[key] {
				numbers[name] = nr
			}
		}
		type row struct {
			nr   int
			name string
		}
		var rows []row
		for name, nr := range numbers {
			rows = append(rows, row{nr, name})
		}
		slices.SortFunc(rows, func(x, y row) int {
			return cmp.Or(cmp.Compare(x.nr, y.nr), cmp.Compare(x.name, y.name))
		})
		for _, r := range rows {
			args, err := arguments(a.name, r.name, traced, extra)
			if err != nil {
				return err
			}
			fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%s %d %s %s", a.name, r.nr, r.name, args), " "))
		}
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}

// arguments finds the arguments of a call: those special to its architecture, those
// that its tracepoint tells, those of the supplement, or those of another name.
func arguments(arch, name string, traced map[string]string, extra *supplement) (string, error) {
	for range 3 {
		for _, find := range []func() (string, bool){
			func() (string, bool) { a, ok := extra.args[arch+":"+name]; return a, ok },
			func() (string, bool) { a, ok := traced[name]; return a, ok && extra.aliases[name] == "" },
			func() (string, bool) { a, ok := extra.args[name]; return a, ok },
		} {
			if args, ok := find(); ok {
				return args, nil
			}
		}
		if extra.aliases[name] == "" {
			break
		}
		// Another architecture's peculiarity is not the alias's.
		name, arch = extra.aliases[name], ""
	}
	return "", fmt.Errorf("%s: arguments of %s unknown; add them to the supplement", arch, name)
}

// fieldLine matches one field of a tracepoint's format: type, name and offset.
var fieldLine = regexp.MustCompile(`field:(.*?)(\w+);\s*offset:(\d+);`)

// tracepoints reads the arguments of all calls that have an enter event.
func tracepoints(tracefs string) (map[string]string, error) {
	const firstArgument = 16 // offset in an enter event, after its common fields and the number
	paths, err := filepath.Glob(filepath.Join(tracefs, "events/syscalls/sys_enter_*/format"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no system call events in %s: mount tracefs there, or name its place with -tracefs", tracefs)
	}
	calls := map[string]string{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var args []string
		for _, m := range fieldLine.FindAllStringSubmatch(string(data), -1) {
			if at, _ := strconv.Atoi(m[3]); at >= firstArgument {
				args = append(args, m[2]+": "+strings.Join(strings.Fields(m[1]), " "))
			}
		}
		name := strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "sys_enter_")
		calls[name] = strings.Join(args, ", ")
	}
	return calls, nil
}

// headerNumbers lets the C preprocessor say which numbers a header defines.
func headerNumbers(header string, flags []string) (map[string]int, error) {
	cmd := exec.Command("cc", append([]string{"-E", "-dM", "-x", "c"}, append(flags, "-")...)...)
	cmd.Stdin = strings.NewReader("#include <" + header + ">\n")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("preprocessing <%s>: %w: %s", header, err, stderr.String())
	}
	macros := map[string]string{}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		if f := strings.Fields(scan.Text()); len(f) >= 3 {
			macros[f[1]] = strings.Trim(strings.Join(f[2:], ""), "()")
		}
	}
	numbers := map[string]int{}
	for macro, value := range macros {
		name, ok := strings.CutPrefix(macro, "__NR_")
		if !ok || name == "syscalls" || name == "arch_specific_syscall" {
			continue
		}
		value = strings.TrimPrefix(value, "__X32_SYSCALL_BIT+")
		if other, ok := macros[value]; ok {
			value = other
		}
		nr, err := strconv.Atoi(value)
		if err != nil {
			return nil, fmt.Errorf("%s is %q", macro, value)
		}
		numbers[name] = nr
	}
	if len(numbers) < 200 {
		return nil, errors.New("too few; are the headers installed?")
	}
	return numbers, nil
}
