package main_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func init() { packages["setpriv"] = "util-linux" }

// grantedCapabilities are what the DaemonSet grants, in setpriv's spelling.
func grantedCapabilities(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						SecurityContext struct {
							Capabilities struct{ Add []string }
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	var caps []string
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, name := range c.SecurityContext.Capabilities.Add {
			caps = append(caps, strings.ToLower(name))
		}
	}
	if len(caps) == 0 {
		t.Fatal("the DaemonSet grants no capability")
	}
	return caps
}

// limited is a command that runs another one, as root with no capabilities but these.
func limited(t *testing.T, caps []string) []string {
	t.Helper()
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	return []string{need(t, "setpriv"), "--bounding-set=" + set, "--inh-caps=-all", "--no-new-privs"}
}

// TestEachCapabilityIsNeeded: without any one of those that the DaemonSet grants, the
// service does not start, and says which one.
func TestEachCapabilityIsNeeded(t *testing.T) {
	s := prepareService(t, unified(t))
	granted := grantedCapabilities(t)
	for _, missing := range granted {
		t.Run(missing, func(t *testing.T) {
			rest := slices.DeleteFunc(slices.Clone(granted), func(c string) bool { return c == missing })
			code, out := runSwolld(t, limited(t, rest), s.flags()...)
			if code != 1 || strings.Count(out, "\n") != 1 {
				t.Errorf("exit status %d, want 1; said, in more or less than one line:\n%s", code, out)
			}
			for _, c := range granted {
				name := "CAP_" + strings.ToUpper(c)
				if got := strings.Contains(out, name+" ("); got != (c == missing) {
					t.Errorf("%s is named as missing: %v\n%s", name, got, out)
				}
			}
			if left, err := os.ReadDir(s.pins); !os.IsNotExist(err) {
				t.Errorf("left in the pin directory: %v, %v", left, err)
			}
		})
	}
}

// TestGrantedCapabilitiesSuffice: with exactly what the DaemonSet grants, the service does
// all that it does: loads, records, saves deaths, serves, adopts.
func TestGrantedCapabilitiesSuffice(t *testing.T) {
	s := prepareService(t, unified(t))
	prefix := limited(t, grantedCapabilities(t))
	s.startUnder(prefix...)

	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	const set = 1<<38 | 1<<39 // CAP_PERFMON and CAP_BPF
	want := fmt.Sprintf("CapEff:\t%016x", set)
	if !regexp.MustCompile(want).Match(status) {
		t.Errorf("the service does not run with %s:\n%s", want, status)
	}

	dies := s.container("dies")
	dies.start("/bin/cat", "/nonexistent/config").wait()
	snap := s.waitSnapshot("dies")
	if snap.ExitCode == nil || *snap.ExitCode != 1 {
		t.Errorf("the snapshot of a death: %+v", snap)
	}
	if out := s.mustCLI("explain", snap.ID); !strings.Contains(out, "/nonexistent/config") {
		t.Errorf("the verdict does not name what is missing:\n%s", out)
	}
	lives := s.container("lives")
	lives.start("/bin/sleep", "1000")
	sleeps := func(what string) {
		t.Helper()
		eventually(t, what, func() error {
			// Running calls come from the task iterator.
			if out := s.mustCLI("dump", "host/lives"); !strings.Contains(out, "nanosleep(") || !strings.Contains(out, "<unfinished ...>") {
				return fmt.Errorf("no running nanosleep in:\n%s", out)
			}
			return nil
		})
	}
	sleeps("a dump")
	s.mustCLI("freeze", "host/lives")
	s.mustCLI("thaw", "host/lives")
	s.mustCLI("snapshot", "host/lives")

	s.stop()
	s.startUnder(prefix...)
	sleeps("a dump of what was adopted")
	s.stop()
	if code, out := runSwolld(t, prefix, append(s.flags(), "--uninstall")...); code != 0 {
		t.Errorf("--uninstall: exit status %d\n%s", code, out)
	}
	if _, err := os.Stat(s.pins); !os.IsNotExist(err) {
		t.Errorf("after --uninstall: %v", err)
	}
}

// TestOwnUserNamespace: capabilities that hold in a user namespace only do not count.
func TestOwnUserNamespace(t *testing.T) {
	s := prepareService(t, unified(t))
	code, out := runSwolld(t, []string{need(t, "unshare"), "--user", "--map-root-user"}, s.flags()...)
	if code != 1 || !strings.Contains(out, "missing privileges") || !strings.Contains(out, "user namespace") {
		t.Errorf("exit status %d, said:\n%s", code, out)
	}
}
