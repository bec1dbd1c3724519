package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// containerOf writes the spec of a container that runs a program of the image "programs".
// extra is further fields of it, with a comma before.
func containerOf(name, command, extra string) string {
	return "{name: " + name + ", image: " + image("programs") + ", imagePullPolicy: Never, terminationMessagePolicy: File, command: " + command + extra + "}"
}

// A pod has an init container and two containers, one of which does not find its
// configuration. All of it is there, under the right names, from the first call on; each
// death is saved with what the cluster knows of it, and told on the pod.
func TestPodCrash(t *testing.T) {
	t.Parallel()
	const keep = 3
	s := newService(t, "--snapshot-keep", fmt.Sprint(keep))
	ns := namespace(t, "crash")
	made := createPod(t, ns, "{name: web, labels: {app: shop, tier: front}}", `{terminationGracePeriodSeconds: 0,
		initContainers: [`+containerOf("prepare", "[/bin/marker, -n, '1', init-of-web]", "")+`],
		containers: [`+containerOf("app", "[cat, /etc/app/config.yaml]", "")+`,
			`+containerOf("helper", "[/bin/marker, helper-of-web]", "")+`]}`)
	uid := made.Metadata.UID

	// The three histories, from the runtime's exec on.
	for container, want := range map[string]struct{ program, mark string }{
		"prepare": {"/bin/marker", "/marks/init-of-web"},
		"app":     {"cat", "/etc/app/config.yaml"},
		"helper":  {"/bin/marker", "/marks/helper-of-web"},
	} {
		r := s.waitNamed(ns, "web", container)
		if r.UID != uid {
			t.Errorf("%v is recorded with uid %q, and its pod's is %q", r, r.UID, uid)
		}
		eventually(t, "history of "+container, func() error {
			events, err := s.tryEvents(dumpPath(r))
			if err != nil {
				return err
			}
			if err := firstExec(events, want.program); err != nil {
				return fmt.Errorf("%w: %v", err, events)
			}
			if !mentions(events, want.mark) {
				return fmt.Errorf("%s is not in %v", want.mark, events)
			}
			for _, e := range events {
				if e.Container.Namespace != ns || e.Container.Pod != "web" || e.Container.Name != container {
					return fmt.Errorf("not under its name: %v", e)
				}
			}
			return nil
		})
	}

	// The first death.
	first := s.waitSnapshot(ns, "web", "app", nil)
	if first.Instance != 0 || first.UID != uid || first.Image != image("programs") ||
		first.Labels["app"] != "shop" || first.Labels["tier"] != "front" || len(first.ContainerID) != 64 ||
		first.Trigger != "exit" || first.ExitCode == nil || *first.ExitCode != 1 {
		t.Errorf("the first snapshot is %v", first)
	}
	history := s.events(first)
	if err := firstExec(history, "cat"); err != nil {
		t.Errorf("the first snapshot: %v: %v", err, history)
	}
	failed := slices.IndexFunc(history, func(e event) bool {
		return strings.HasPrefix(e.name(), "open") && e.Error == "ENOENT" && e.mentions("/etc/app/config.yaml")
	})
	if failed < 0 {
		t.Errorf("the call that failed is not in %v", history)
	}
	explained := s.cli("explain", ns+"/web")
	for _, want := range []string{"exit 1", "/etc/app/config.yaml", "ENOENT"} {
		if !strings.Contains(explained, want) {
			t.Errorf("explain does not say %q:\n%s", want, explained)
		}
	}

	// It is told on the pod.
	eventually(t, "kubectl describe shows the death", func() error {
		described := kubectl(t, "-n", ns, "describe", "pod", "web")
		_, events, _ := strings.Cut(described, "\nEvents:")
		for _, want := range []string{first.ID, "/etc/app/config.yaml"} {
			if !strings.Contains(events, want) {
				return fmt.Errorf("no %s in:\n%s", want, described)
			}
		}
		return nil
	})

	// In a crash loop the first and the newest are kept.
	var restarts int
	waitPod(t, ns, "web", "in a crash loop", func(p *pod) error {
		app := p.status("app")
		if app == nil || app.RestartCount < keep+2 {
			return errors.New("too few restarts")
		}
		if app.State.Waiting == nil || app.State.Waiting.Reason != "CrashLoopBackOff" {
			return errors.New("not waiting for a restart")
		}
		restarts = app.RestartCount
		return nil
	})
	eventually(t, "the first and the newest deaths are kept", func() error {
		var instances []int
		for _, snap := range s.snapshots(ns) {
			if snap.Container != "app" || snap.Trigger != "exit" {
				return fmt.Errorf("a snapshot of what did not die: %v", snap)
			}
			instances = append(instances, snap.Instance)
		}
		slices.Sort(instances)
		if len(instances) != keep || instances[0] != 0 {
			return fmt.Errorf("kept are lives %v", instances)
		}
		newest := instances[keep-1]
		if newest < restarts || instances[1] != newest-1 {
			return fmt.Errorf("kept are lives %v, and %d was seen", instances, restarts)
		}
		return nil
	})
}
