package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTablesAreUpToDate(t *testing.T) {
	got, err := generate("../kernel.txt", "../calls.txt", "../values.txt", "../ioctls.txt")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../tables.go")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("tables.go is not what its sources give: run go generate ./ringstore/syscalls")
	}
}

// write makes the three sources of a table.
func write(t *testing.T, kernel, calls, values string) (a, b, c string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"kernel.txt": kernel, "calls.txt": calls, "values.txt": values} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "kernel.txt"), filepath.Join(dir, "calls.txt"), filepath.Join(dir, "values.txt")
}

// TestRowsAreEnough adds a call by rows alone.
func TestRowsAreEnough(t *testing.T) {
	source, err := generate(write(t,
		"x86_64 0 brew pot: int, kind: const char *, flags: unsigned int, cups: struct cup *, n: size_t\n",
		"[Kitchen/Drinks]\nbrew\tpot:fd kind:str flags:flags=heat cups:array=cup!>4 n -> fd +life\n",
		"flags heat HEAT_???\n  HOT=1 STRONG=2,arm64:4\nstruct cup 8* volume:uint@0 sugar:int@4\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Name: "brew", Class: "Kitchen", Group: "Drinks", NArgs: 5`,
		`{Name: "cups", Index: 3, Format: FormatArray, Struct: &structCup, Count: 0x4, Out: Filled}`,
		`{Name: "n", Index: 4, Format: FormatSize}`,
		`Rules: []Rule{{HowString, 1, 0xfe, 0, 0, 0, 0}, {HowBytes, 3, 0x4, 2, 8, 0, 0}}, Flags: Life`,
		`{"STRONG", 0x2, 0x0, RowName}`,
	} {
		if !strings.Contains(string(source), want) {
			t.Errorf("not in the tables: %s", want)
		}
	}
	if t.Failed() {
		t.Log(string(source))
	}
}

// What has several names is known by those that strace has, where the headers tell.
func TestNamesOfRequests(t *testing.T) {
	for want, names := range map[string][]string{
		"A B":          {"B", "A"},
		"VIDIOC_S_STD": {"VIDIOC_SUBDEV_S_STD", "VIDIOC_S_STD"},
		"X_SUBDEV_Y":   {"X_SUBDEV_Y", "__X"},
		"":             {"KVM_S390_IRQ"},
	} {
		if got := strings.Join(known(names), " "); got != want {
			t.Errorf("known(%v) = %s, want %s", names, got, want)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	const kernel, values = "x86_64 0 brew pot: int\n", "flags heat HEAT_???\n  HOT=1\n"
	for calls, want := range map[string]string{
		"":                                      "brew of x86_64 is not in",
		"[Kitchen/Drinks]\nbrew\nserve\n":       "no architecture has a call serve",
		"[Kitchen/Drinks]\nbrew pot:lukewarm\n": "no format lukewarm",
		"[Kitchen/Drinks]\nbrew pot:flags=cold\n":                 "no set cold",
		"[Kitchen/Drinks]\nbrew a b\n":                            "argument 2 of 1",
		"[Kitchen/Drinks]\nbrew pot:fd<\n":                        "cannot be read",
		"[Kitchen/Drinks]\nbrew pot:str>\n":                       "not marked as filled",
		"[Kitchen/Drinks]\nbrew pot -> froth\n":                   "no result froth",
		"[Kitchen/Drinks]\nbrew pot +quick\n":                     "no flag quick",
		"[Kitchen/Drinks]\nbrew/0=HOT pot\n":                      "which is not there yet",
		"[Kitchen/Drinks]\nbrew pot:flags=heat\nbrew/0=TEPID p\n": "no value TEPID",
		"[Kitchen/Drinks]\nbrew\nbrew\n":                          "is there already",
	} {
		_, err := generate(write(t, kernel, calls, values))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want %q", calls, err, want)
		}
	}
}

func TestTracepointFormat(t *testing.T) {
	dir := t.TempDir()
	event := filepath.Join(dir, "events/syscalls/sys_enter_brew")
	if err := os.MkdirAll(event, 0o755); err != nil {
		t.Fatal(err)
	}
	const format = `name: sys_enter_brew
format:
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:unsigned int fd;	offset:16;	size:8;	signed:0;
	field:const char *const * argv;	offset:24;	size:8;	signed:0;

print fmt: "fd: 0x%08lx", ((unsigned long)(REC->fd))
`
	if err := os.WriteFile(filepath.Join(event, "format"), []byte(format), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := tracepoints(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"brew": "fd: unsigned int, argv: const char *const *"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := tracepoints(t.TempDir()); err == nil || !strings.Contains(err.Error(), "mount tracefs") {
		t.Errorf("without tracefs: %v", err)
	}
}
