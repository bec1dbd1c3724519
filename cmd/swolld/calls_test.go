package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/swoll-recorder/swoll/ringstore"
	"github.com/swoll-recorder/swoll/ringstore/syscalls"
)

// TestEveryCallOfThisKernel: whatever call the running kernel describes has a row in the
// table, with as many arguments.
func TestEveryCallOfThisKernel(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tracing")
	mount(t, "tracefs", dir, 0, "")
	paths, err := filepath.Glob(filepath.Join(dir, "events/syscalls/sys_enter_*/format"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 300 {
		t.Fatalf("this kernel describes %d calls only: it needs CONFIG_FTRACE_SYSCALLS", len(paths))
	}
	rows := map[string]*syscalls.Call{}
	for _, c := range syscalls.Table(runtime.GOARCH, ringstore.ABINative) {
		if c != nil {
			rows[c.Name] = c
		}
	}
	// The events have the names of functions.
	functions := map[string]string{"newstat": "stat", "newfstat": "fstat", "newlstat": "lstat", "newuname": "uname", "sendfile64": "sendfile", "umount": "umount2"}
	field := regexp.MustCompile(`field:.*?\s\**(\w+);\s*offset:(\d+);`)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		args := 0
		for _, m := range field.FindAllStringSubmatch(string(data), -1) {
			// Behind the fields of all events and the number.
			if at, err := strconv.Atoi(m[2]); err == nil && at >= 16 {
				args++
			}
		}
		name := strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "sys_enter_")
		if functions[name] != "" {
			name = functions[name]
		}
		switch c := rows[name]; {
		case c == nil:
			t.Errorf("no row for %s: add it to ringstore/syscalls/kernel.txt (go run ./gen -refresh) and calls.txt", name)
		case c.Flags&syscalls.Stack != 0 && args == 0: // it has what lies on the stack
		case c.NArgs != args:
			t.Errorf("%s has %d arguments in the table, %d in this kernel", name, c.NArgs, args)
		}
	}
}
