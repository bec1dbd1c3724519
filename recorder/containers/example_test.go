package containers_test

import (
	"context"
	"fmt"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

const id = "6f1e0ca37a5b0c1f7bbd4f9b0f62d9e1c85c0f2ba3d74e5c81d9a0b4c7e2f345"

// Sources tell their part, in any order; whoever asks gets what is known by then.
func ExampleCollection() {
	set := containers.New(containers.Options{})

	// The recorder sees a cgroup appear.
	path := "/kubepods/burstable/pod2c48913c-b29f-41e7-9350-020968147796/" + id
	if n, ok := containers.ParseCgroup(path); ok {
		set.Update(n.ID, func(c *containers.Container) {
			c.Cgroup, c.CgroupID, c.PodUID = path, 4711, n.PodUID
		})
	}
	// The runtime tells more.
	set.Update(id, func(c *containers.Container) {
		c.Namespace, c.Pod, c.Name, c.State = "shop", "web-0", "nginx", containers.StateRunning
	})
	c, _ := set.ByCgroup(4711)
	fmt.Println(c.Namespace, c.Pod, c.Name, c.PodUID, c.State)

	// It ends, and can be asked for a while longer.
	set.Exit(id, func(c *containers.Container) { code := 1; c.ExitCode = &code })
	fmt.Println("alive:", len(set.Select(containers.Selector{Pod: "web-0"})))
	c, _ = set.Get(id)
	fmt.Println(c.State, *c.ExitCode)
	// Output:
	// shop web-0 nginx 2c48913c-b29f-41e7-9350-020968147796 running
	// alive: 0
	// exited 1
}

// The subscription starts with what is there; nothing is missed between that and the first
// change.
func ExampleCollection_Events() {
	set := containers.New(containers.Options{})
	set.Update("a", func(c *containers.Container) { c.Namespace, c.Name = "shop", "nginx" })
	set.Update("b", func(c *containers.Container) { c.Namespace, c.Name = "bank", "vault" })

	for ev := range set.Events(context.Background(), containers.Selector{Namespace: "shop"}) {
		fmt.Println(ev.Kind, ev.Container.Name)
		if ev.Kind == containers.EventExit {
			break
		}
		set.Exit("a", nil)
	}
	// Output:
	// start nginx
	// exit nginx
}

// An enricher is asked about each change, and again after it has learned something.
func ExampleCollection_Refresh() {
	names := map[string]string{}
	set := containers.New(containers.Options{Enrichers: []containers.Enricher{
		containers.EnrichFunc(func(c *containers.Container) {
			if n := names[c.PodUID]; n != "" {
				c.Pod = n
			}
		}),
	}})
	set.Update("a", func(c *containers.Container) { c.PodUID = "2c48913c" })
	names["2c48913c"] = "web-0" // with a lock of its own where there are goroutines
	set.Refresh(containers.Selector{PodUID: "2c48913c", Exited: true})
	c, _ := set.Get("a")
	fmt.Println(c.Pod)
	// Output: web-0
}

func ExampleSelector() {
	set := containers.New(containers.Options{})
	for id, app := range map[string]string{"a": "web", "b": "db", "c": "web"} {
		set.Update(id, func(c *containers.Container) { c.Name, c.Labels = app+"-"+id, map[string]string{"app": app} })
	}
	for _, c := range set.Select(containers.Selector{Labels: map[string]string{"app": "web"}}) {
		fmt.Println(c.Name)
	}
	// Output:
	// web-a
	// web-c
}

func ExampleParseCgroup() {
	for _, path := range []string{
		"/system.slice/docker-" + id + ".scope",
		"/kubepods.slice/kubepods-pod2c48913c_b29f_41e7_9350_020968147796.slice/crio-" + id + ".scope",
		"/system.slice/ssh.service",
	} {
		n, ok := containers.ParseCgroup(path)
		fmt.Printf("%v %.8q %q %q\n", ok, n.ID, n.Runtime, n.PodUID)
	}
	// Output:
	// true "6f1e0ca3" "docker" ""
	// true "6f1e0ca3" "cri-o" "2c48913c-b29f-41e7-9350-020968147796"
	// false "" "" ""
}
