package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Below these directories of the headers are those that define requests of ioctl.
var ioctlDirs = []string{"linux", "asm-generic", "sound", "rdma", "mtd", "scsi", "misc", "drm", "xen"}

// Requests that are plain numbers, by the headers that have them: everything that
// begins so, and is no flag or state, which are all smaller.
const leastIoctl = 0x300

var ioctlNumbers = map[string][]string{
	"linux/cdrom.h":        {"CDROM", "DVD_"},
	"linux/hdreg.h":        {"HDIO_"},
	"linux/kd.h":           {"KD", "GIO_", "PIO_"},
	"linux/loop.h":         {"LOOP_SET_", "LOOP_GET_", "LOOP_CLR_", "LOOP_CHANGE_", "LOOP_CTL_", "LOOP_CONFIGURE"},
	"linux/sockios.h":      {"SIOC"},
	"linux/vt.h":           {"VT_"},
	"asm-generic/ioctls.h": {"TI", "TC", "FIO"},
	"scsi/sg.h":            {"SG_GET_", "SG_SET_", "SG_EMULATED_HOST", "SG_NEXT_CMD_LEN", "SG_IO", "SG_SCSI_RESET"},
	"scsi/scsi_ioctl.h":    {"SCSI_IOCTL_"},
}

var (
	ioctlMacro  = regexp.MustCompile(`(?m)^\s*#\s*define\s+(\w+)\s+(?:DRM_)?_?S?IO(?:R|W|WR|WR_BAD|R_BAD|W_BAD)?\s*\(`)
	ioctlNumber = regexp.MustCompile(`(?m)^\s*#\s*define\s+(\w+)\s+(?:0x[0-9a-fA-F]+|\()`)
)

// known chooses the names by which strace knows a number: not those of other machines, nor
// those for the makers of headers, nor of a device's part where the device has the same.
func known(names []string) []string {
	for _, unwanted := range []func(string) bool{
		func(n string) bool { return strings.HasPrefix(n, "__") },
		func(n string) bool { return strings.HasPrefix(n, "KVM_S390_") || strings.HasPrefix(n, "KVM_PPC_") },
	} {
		names = slices.DeleteFunc(names, unwanted)
	}
	for _, unwanted := range []string{"_SUBDEV_", "KVM_ARM_"} {
		if left := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.Contains(n, unwanted) }); len(left) > 0 {
			names = left
		}
	}
	slices.Sort(names)
	return names
}

// ioctls writes the names of requests of ioctl that the headers installed here define, as
// a set of values.txt. Where several have one number, strace knows them by all their names.
func ioctls(out, include string) error {
	byCode := map[uint32][]string{}
	for _, dir := range ioctlDirs {
		headers, err := filepath.Glob(filepath.Join(include, dir, "*.h"))
		if err != nil {
			return err
		}
		for _, path := range headers {
			header := dir + "/" + filepath.Base(path)
			names, err := ioctlNames(path, header)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				continue
			}
			codes, err := evaluate(header, names)
			if err != nil {
				// It is not made to be included by itself.
				fmt.Fprintln(os.Stderr, "gen: left out:", err)
				continue
			}
			for name, code := range codes {
				if !slices.Contains(byCode[code], name) {
					byCode[code] = append(byCode[code], name)
				}
			}
		}
	}
	if len(byCode) < 500 {
		return fmt.Errorf("%d requests of ioctl below %s: are the headers installed?", len(byCode), include)
	}
	var codes []uint32
	for c := range byCode {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	var b bytes.Buffer
	b.WriteString("# Requests of ioctl, written by `go run ./gen -refresh` from the headers of the kernel.\n\nvalues ioctlnames -\n")
	line := " "
	for _, c := range codes {
		names := known(byCode[c])
		if len(names) == 0 || c < leastIoctl {
			continue
		}
		word := fmt.Sprintf(" %s=%#x", strings.Join(names, "%20or%20"), c)
		if len(line)+len(word) > 100 {
			b.WriteString(line + "\n")
			line = " "
		}
		line += word
	}
	b.WriteString(line + "\n")
	return os.WriteFile(out, b.Bytes(), 0o644)
}

// ioctlNames finds the macros of a header that look like requests.
func ioctlNames(path, header string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, m := range ioctlMacro.FindAllSubmatch(data, -1) {
		names = append(names, string(m[1]))
	}
	for _, m := range ioctlNumber.FindAllSubmatch(data, -1) {
		if slices.ContainsFunc(ioctlNumbers[header], func(p string) bool { return strings.HasPrefix(string(m[1]), p) }) {
			names = append(names, string(m[1]))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// evaluate lets the C compiler say what numbers macros are; those that are none are left
// out.
func evaluate(header string, names []string) (map[string]uint32, error) {
	dir, err := os.MkdirTemp("", "gen")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for range 4 {
		var c strings.Builder
		c.WriteString("#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <time.h>\n#include <sys/types.h>\n#include <sys/socket.h>\n#include <net/if.h>\n#include <linux/ioctl.h>\n#include <linux/types.h>\n")
		fmt.Fprintf(&c, "#include <%s>\nint main(void) {\n", header)
		first := strings.Count(c.String(), "\n") + 1
		for _, n := range names {
			fmt.Fprintf(&c, "printf(\"%%s %%u\\n\", \"%s\", (unsigned)(%s));\n", n, n)
		}
		c.WriteString("return 0; }\n")
		source, program := filepath.Join(dir, "a.c"), filepath.Join(dir, "a")
		if err := os.WriteFile(source, []byte(c.String()), 0o644); err != nil {
			return nil, err
		}
		out, err := exec.Command("cc", "-w", "-Werror=implicit-function-declaration", "-fmax-errors=0", "-o", program, source).CombinedOutput()
		if err == nil {
			out, err := exec.Command(program).Output()
			if err != nil {
				return nil, err
			}
			codes := map[string]uint32{}
			for line := range strings.Lines(string(out)) {
				name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
				code, err := strconv.ParseUint(number, 10, 32)
				if err != nil {
					return nil, err
				}
				codes[name] = uint32(code)
			}
			return codes, nil
		}
		// Once more without those that are no numbers.
		var left []string
		for i, n := range names {
			if !bytes.Contains(out, fmt.Appendf(nil, "a.c:%d:", first+i)) {
				left = append(left, n)
			}
		}
		if len(left) == len(names) {
			message, _, _ := strings.Cut(string(out), "\n")
			return nil, fmt.Errorf("<%s>: %s", header, message)
		}
		names = left
	}
	return nil, fmt.Errorf("<%s>: what it defines cannot be evaluated", header)
}
