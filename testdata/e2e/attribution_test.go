package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Whatever namespaces a container shares, and however a process came into it: its calls are
// in the history of that container, and in no other.
func TestAttribution(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ns := namespace(t, "whose")
	tag := fmt.Sprintf("%016x", rand.Uint64())
	main := func(mark string) string {
		return `containers: [` + containerOf("main", "[/bin/marker, "+mark+tag+"]", "") + `]`
	}
	for name, spec := range map[string]string{
		"hostpid":     "hostPID: true, " + main("hostpid-"),
		"hostnetwork": "hostNetwork: true, " + main("hostnetwork-"),
		"privileged": `containers: [` + containerOf("main", "[/bin/marker, privileged-"+tag+"]",
			", securityContext: {privileged: true}") + `]`,
		"shared": `shareProcessNamespace: true, containers: [` +
			containerOf("one", "[/bin/marker, shared-one-"+tag+"]", "") + `,` +
			containerOf("two", "[/bin/marker, shared-two-"+tag+"]", "") + `]`,
		"plain": main("plain-"),
	} {
		createPod(t, ns, "{name: "+name+"}", "{terminationGracePeriodSeconds: 0, "+spec+"}")
	}
	waitRunning(t, ns, "plain")
	kubectl(t, "-n", ns, "exec", "plain", "--", "/bin/marker", "-n", "2", "exec-"+tag)
	kubectl(t, "-n", ns, "debug", "plain", "--image="+image("programs"), "--image-pull-policy=Never", "--target=main",
		"--container=debugger", "--profile=general", "--", "/bin/marker", "debug-"+tag)
	waitRunning(t, ns, "plain", "debugger")

	// Whose history each mark belongs in.
	owners := map[string]string{
		"hostpid-":     "hostpid/main",
		"hostnetwork-": "hostnetwork/main",
		"privileged-":  "privileged/main",
		"shared-one-":  "shared/one",
		"shared-two-":  "shared/two",
		"plain-":       "plain/main",
		"exec-":        "plain/main",
		"debug-":       "plain/debugger",
	}
	eventually(t, "each process is recorded as its container's", func() error {
		all, err := s.tryList()
		if err != nil {
			return err
		}
		found := map[string][]string{}
		for _, r := range all {
			events, err := s.tryEvents(dumpPath(&r))
			if err != nil {
				return err
			}
			for mark := range owners {
				if mentions(events, "/marks/"+mark+tag) {
					found[mark] = append(found[mark], strings.TrimPrefix(r.Namespace+"/"+r.Pod+"/"+r.Name, ns+"/"))
				}
			}
		}
		var wrong []error
		for mark, owner := range owners {
			if got := found[mark]; !slices.Equal(got, []string{owner}) {
				wrong = append(wrong, fmt.Errorf("%s is in the history of %q, and belongs in that of %s", mark, got, owner))
			}
		}
		return errors.Join(wrong...)
	})

	// A process of a container that has the processes of others before its eyes.
	for _, r := range s.list() {
		if r.Namespace == ns {
			if err := firstExec(s.dump(&r), "/bin/marker"); err != nil {
				t.Errorf("%v: %v", r, err)
			}
		}
	}
}

// A kill by the kernel, for the memory limit, is not one by somebody.
func TestOOMIsNoKill(t *testing.T) {
	t.Parallel()
	s := newService(t)
	ns := namespace(t, "oom")
	limit := ", resources: {limits: {memory: 16Mi}}"
	createPod(t, ns, "{name: greedy}", `{restartPolicy: Never, containers: [`+containerOf("main", "[/bin/death, oom]", limit)+`]}`)
	createPod(t, ns, "{name: victim}", `{restartPolicy: Never, terminationGracePeriodSeconds: 0,
		containers: [`+containerOf("main", "[/bin/marker, victim]", limit)+`]}`)

	waitRunning(t, ns, "victim")
	r := s.waitNamed(ns, "victim", "main")
	kill(t, r, syscall.SIGKILL)

	oom := s.waitSnapshot(ns, "greedy", "main", nil)
	if oom.Trigger != "oom" || oom.ExitCode == nil || *oom.ExitCode != 137 {
		t.Errorf("the container that went beyond its limit: %v", oom)
	}
	killed := s.waitSnapshot(ns, "victim", "main", nil)
	if killed.Trigger != "signal" || killed.Signal == nil || *killed.Signal != "SIGKILL" || killed.ExitCode == nil || *killed.ExitCode != 137 {
		t.Errorf("the container that was killed: %v", killed)
	}
	for snap, want := range map[*snapshot]string{&oom: `"kind": "oom"`, &killed: `"kind": "signal"`} {
		explained := s.cli("explain", snap.ID, "-o", "json")
		if !strings.Contains(strings.ReplaceAll(explained, `":"`, `": "`), want) {
			t.Errorf("the verdict on %s is not %s:\n%s", snap.Pod, want, explained)
		}
	}
	// To the runtime, which looks from outside, both are a 137. (It calls the first one
	// OOMKilled where it learns in time of the kernel's word, on cgroup v1 not always.)
	for _, name := range []string{"greedy", "victim"} {
		waitPod(t, ns, name, "is seen as dead", func(p *pod) error {
			if st := p.status("main"); st == nil || st.State.Terminated == nil || st.State.Terminated.ExitCode != 137 {
				return errors.New("it is not")
			}
			return nil
		})
	}
}

// kill sends a signal to all processes of a container, from outside.
func kill(t testing.TB, r *recorded, signal syscall.Signal) {
	t.Helper()
	pids := pidsOf(r)
	if len(pids) == 0 {
		t.Fatalf("%v has no processes", r)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, signal); err != nil && err != syscall.ESRCH {
			t.Fatalf("killing process %d of %v: %v", pid, r, err)
		}
	}
}

// pidsOf lists the processes of a container.
func pidsOf(r *recorded) []int {
	for _, mount := range cgroupMounts() {
		if dir := filepath.Join(mount, r.Cgroup); r.Cgroup != "" {
			if _, err := os.Stat(dir); err == nil {
				if pids := pidsBelow(dir); len(pids) > 0 {
					return pids
				}
			}
		}
	}
	return nil
}
