package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// outage is how long the API server, and then the container runtime, are away. In its first
// half they do not answer; in its second they are not there.
const outage = time.Minute

// TestOutages runs alone: others need what it takes away.
//
// Recording, and saving who dies, goes on without the API server, and without the runtime;
// also when the service itself starts in that time. Names are right from whom there is,
// or, at last, when all are back.
func TestOutages(t *testing.T) {
	s := newService(t)
	ns := namespace(t, "outage")
	// Dies again and again, each time about a second after its start.
	createPod(t, ns, "{name: loop, labels: {app: loop}}", `{containers: [`+containerOf("main", "[/bin/marker, -n, '20', -x, '1', loop]", "")+`]}`)
	for _, name := range []string{"steady", "first-victim", "second-victim"} {
		createPod(t, ns, "{name: "+name+"}", `{terminationGracePeriodSeconds: 0, containers: [`+containerOf("main", "[/bin/marker, "+name+"]", "")+`]}`)
	}
	uids := map[string]string{}
	for _, name := range []string{"steady", "first-victim", "second-victim"} {
		uids[name] = waitRunning(t, ns, name).Metadata.UID
	}
	steady := s.waitNamed(ns, "steady", "main")
	victims := []*recorded{s.waitNamed(ns, "first-victim", "main"), s.waitNamed(ns, "second-victim", "main")}
	s.waitSnapshot(ns, "loop", "main", nil)

	// recordsOn checks that calls made from now on are recorded.
	recordsOn := func(what string) {
		t.Helper()
		// A service that has just started may not know the pod by name yet.
		before := int64(0)
		eventually(t, what+": new calls are recorded", func() error {
			events, err := s.tryEvents(dumpPath(steady) + "&last=1")
			if err != nil {
				return err
			}
			if len(events) == 0 {
				return errors.New("the history is empty")
			}
			newest := events[len(events)-1].Start
			if before == 0 {
				before = newest
			}
			if newest <= before {
				return errors.New("none")
			}
			return nil
		})
	}
	// savesOn checks that a death later than all that were saved is saved, under its name.
	savesOn := func(what string) snapshot {
		t.Helper()
		newest := -1
		for _, snap := range s.snapshots(ns) {
			if snap.Pod == "loop" {
				newest = max(newest, snap.Instance)
			}
		}
		t.Logf("%s: the newest death saved so far is of life %d", what, newest)
		return s.waitSnapshot(ns, "loop", "main", func(snap snapshot) bool { return snap.Instance > newest })
	}
	// Whatever fails here, the tests that follow find a whole cluster.
	t.Cleanup(func() {
		for _, name := range []string{"kube-apiserver", "containerd"} {
			d := the.daemons[name]
			d.cmd.Process.Signal(syscall.SIGCONT)
			select {
			case <-d.gone:
				if err := d.start(); err != nil {
					t.Error(err)
				}
			default:
			}
		}
		if err := the.waitReady(); err != nil {
			t.Error(err)
		}
	})
	// When there was no service, and a runtime that has no events could not be asked.
	var away [][2]time.Time
	restart := func() {
		t.Helper()
		began := time.Now().Add(-2 * time.Second)
		s.stop()
		s.start()
		away = append(away, [2]time.Time{began, time.Now()})
	}

	// The API server hangs, then it is not there. The kubelet goes on, and starts a pod that
	// the API server has never heard of.
	api := the.daemons["kube-apiserver"]
	ends := time.Now().Add(outage)
	api.cmd.Process.Signal(syscall.SIGSTOP)
	recordsOn("the API server hangs")
	savesOn("the API server hangs")
	manifest := filepath.Join(staticPods, "late.yaml")
	if err := os.WriteFile(manifest, []byte(`apiVersion: v1
kind: Pod
metadata: {name: late, namespace: `+ns+`, labels: {app: late}}
spec: {containers: [`+containerOf("main", "[/bin/marker, -n, '20', -x, '7', late]", "")+`]}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(manifest) })
	late := s.waitSnapshot(ns, "late-"+nodeName, "main", nil)
	if late.ExitCode == nil || *late.ExitCode != 7 || late.Image != image("programs") || len(late.ContainerID) != 64 {
		t.Errorf("of a pod that only the runtime can name: %v", late)
	}
	time.Sleep(time.Until(ends.Add(-outage / 2)))
	api.cmd.Process.Kill()
	<-api.gone
	recordsOn("the API server is gone")
	savesOn("the API server is gone")
	restart()
	recordsOn("the service started without an API server")
	savesOn("the service started without an API server")
	time.Sleep(time.Until(ends))
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	if err := api.start(); err != nil {
		t.Fatal(err)
	}
	if err := the.waitReady(); err != nil {
		t.Fatalf("the API server is back: %v", err)
	}
	savesOn("the API server is back")
	// The pod that dies all the time was told too much already.
	createPod(t, ns, "{name: told}", `{restartPolicy: Never, containers: [`+containerOf("main", "[/bin/marker, -n, '1', -x, '1', told]", "")+`]}`)
	waitTold(t, ns, "told", s.waitSnapshot(ns, "told", "main", nil).ID)

	// The runtime hangs, then it is not there. Its containers run on.
	runtime := the.daemons["containerd"]
	ends = time.Now().Add(outage)
	runtime.cmd.Process.Signal(syscall.SIGSTOP)
	recordsOn("the runtime hangs")
	kill(t, victims[0], syscall.SIGKILL)
	checkVictim := func(name string) {
		t.Helper()
		snap := s.waitSnapshot(ns, name, "main", nil)
		if snap.UID != uids[name] || snap.Trigger != "signal" || snap.Instance != 0 {
			t.Errorf("saved was %v", snap)
		}
		if events := s.events(snap); !mentions(events, "/marks/"+name) {
			t.Errorf("%v has not the calls of %s", snap, name)
		}
	}
	checkVictim("first-victim")
	time.Sleep(time.Until(ends.Add(-outage / 2)))
	runtime.cmd.Process.Kill()
	<-runtime.gone
	restart()
	recordsOn("the service started without a runtime")
	kill(t, victims[1], syscall.SIGKILL)
	eventually(t, "the death of the second victim is saved", func() error {
		all, err := s.trySnapshots()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(snap snapshot) bool { return snap.ContainerID == victims[1].ID }) {
			return fmt.Errorf("there are %v", all)
		}
		return nil
	})
	time.Sleep(time.Until(ends))
	if err := runtime.start(); err != nil {
		t.Fatal(err)
	}
	if err := the.waitReady(); err != nil {
		t.Fatalf("the runtime is back: %v", err)
	}
	checkVictim("second-victim")
	recordsOn("the runtime is back")
	savesOn("the runtime is back")
	createPod(t, ns, "{name: afterwards}", `{terminationGracePeriodSeconds: 0, containers: [`+containerOf("main", "[/bin/marker, afterwards]", "")+`]}`)
	waitRunning(t, ns, "afterwards")
	afterwards := s.waitNamed(ns, "afterwards", "main")
	eventually(t, "a pod of afterwards is recorded", func() error {
		events, err := s.tryEvents(dumpPath(afterwards))
		if err == nil && !mentions(events, "/marks/afterwards") {
			err = errors.New("its calls are not there")
		}
		return err
	})
	// Also who ended in that time, of whom nobody else knows any more; but for those that came
	// and went while there was no service to see them.
	ours := map[string]bool{late.UID: true}
	var pods struct{ Items []pod }
	if err := the.get("/api/v1/namespaces/"+ns+"/pods", &pods); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		ours[p.Metadata.UID] = true
	}
	eventually(t, "all have their names", func() error {
		all, err := s.tryList()
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(r recorded) bool {
			return r.Namespace != "unknown" || !ours[r.UID] || slices.ContainsFunc(away, func(a [2]time.Time) bool {
				return r.Ring.Oldest.After(a[0]) && r.Ring.Newest.Before(a[1])
			})
		})
		if len(all) > 0 {
			return fmt.Errorf("unknown are %v", all)
		}
		return nil
	})

	// Each death was saved once.
	lives := map[string]string{}
	for _, snap := range s.snapshots(ns) {
		life := fmt.Sprintf("%s/%s#%d", snap.Pod, snap.Container, snap.Instance)
		if other := lives[life]; other != "" {
			t.Errorf("two snapshots of %s: %s and %s", life, other, snap.ID)
		}
		lives[life] = snap.ID
	}
}

// waitTold waits until an Event on a pod tells of a snapshot.
func waitTold(t testing.TB, ns, name, id string) {
	t.Helper()
	eventually(t, "an Event on "+ns+"/"+name+" tells of "+id, func() error {
		if described := kubectl(t, "-n", ns, "describe", "pod", name); !slices.Contains(fields(described), id) {
			return fmt.Errorf("there is none:\n%s", described)
		}
		return nil
	})
}
