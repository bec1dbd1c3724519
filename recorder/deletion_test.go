package recorder

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder/containers"
)

// A container that its runtime ends while its pod is being deleted is saved as such, and of
// such deaths fewer than of others; one that is ended in the same way while its pod stays,
// as after a failed probe, is saved as any death, and so is what dies by itself.
func TestDeletion(t *testing.T) {
	nd := newNode(t, namings[0])
	nd.shut()
	nd.cfg.Containers = containers.New(containers.Options{})
	nd.cfg.SnapshotsPerHour = 2 * deletionsShare
	nd.start()
	deaths := 0
	die := func(namespace string, deleted bool, killer, signal string) *api.Snapshot {
		t.Helper()
		deaths++
		p := nd.pod()
		p.run()
		var i *instance
		eventually(t, "recorded", func() bool {
			nd.refresh()
			for _, x := range nd.all() {
				if x.who().uid == p.uid {
					i = x
				}
			}
			return i != nil
		})
		pod := fmt.Sprint("web-", deaths)
		nd.cfg.Containers.Update(i.who().containerID, func(c *containers.Container) {
			c.Namespace, c.Pod, c.PodUID, c.Name = namespace, pod, p.uid, "app"
			if deleted {
				c.Deletion = time.Now()
			}
		})
		eventually(t, "named", func() bool { return i.who().named && i.who().deletion.IsZero() == !deleted })
		pids, err := os.ReadFile(filepath.Join(i.dir, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("/bin/sh", "-c", `printf %s "$0" >/proc/self/comm; kill -"$1" "$2"`, killer, signal, strings.TrimSpace(string(pids))).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		eventually(t, "its death is dealt with", func() bool { return i.handled.Load() != 0 })
		var found *api.Snapshot
		for _, s := range nd.store.list() {
			if s.Pod == pod {
				found = &s
			}
		}
		return found
	}
	for _, x := range []struct {
		namespace      string
		deleted        bool
		killer, signal string
		want           string // deleted, crashed, or "": it is not saved
	}{
		{"shop", true, "containerd-shim", "KILL", "deleted"},
		{"shop", false, "containerd-shim", "KILL", "crashed"},
		{"shop", true, "runc:[2:INIT]", "TERM", "deleted"},
		{"shop", true, "containerd-shim", "KILL", ""},
		{"shop", true, "operator", "KILL", "crashed"},
		{"shop", true, "containerd-shim", "SEGV", "crashed"},
		{"other", true, "crun", "KILL", "deleted"},
	} {
		s := die(x.namespace, x.deleted, x.killer, x.signal)
		switch {
		case s == nil && x.want == "":
		case s == nil || s.Trigger != api.TriggerSignal || s.Deleted != (x.want == "deleted"):
			t.Errorf("%+v: saved is %+v", x, s)
		case strings.Contains(s.Reason, ", as its pod was being deleted") != (x.want == "deleted"):
			t.Errorf("%+v: the reason is %s", x, s.Reason)
		}
	}
}

// What was ended on purpose is the first to go for the quota of the node.
func TestDeletedGoFirst(t *testing.T) {
	list := []api.Snapshot{
		{ID: "first", Pod: "a", Trigger: api.TriggerExit}, {ID: "second", Pod: "a", Trigger: api.TriggerExit},
		{ID: "gone", Pod: "b", Trigger: api.TriggerSignal, Deleted: true},
	}
	if id := victimOf(list, nil, identity{}); id != "gone" {
		t.Errorf("%s goes first", id)
	}
	if id := victimOf(list, &identity{pod: "a"}, identity{pod: "a"}); id != "second" {
		t.Errorf("of the one in a loop %s goes first", id)
	}
	if id := victimOf(list[:2], nil, identity{pod: "a"}); id != "second" {
		t.Errorf("without it %s goes first", id)
	}
}
