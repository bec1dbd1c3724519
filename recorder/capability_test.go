package recorder

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

func TestMissingCapabilities(t *testing.T) {
	var all uint64
	for _, c := range neededCapabilities {
		all |= 1 << c.bit
	}
	for _, ok := range []uint64{all, ^uint64(0), 1 << unix.CAP_SYS_ADMIN} {
		if err := missingCapabilities(ok); err != nil {
			t.Errorf("with %#x: %v", ok, err)
		}
	}
	for _, test := range []struct {
		has     uint64
		missing func(capability) bool
	}{
		{0, func(capability) bool { return true }},
		{^all &^ (1 << unix.CAP_SYS_ADMIN), func(capability) bool { return true }},
		{all &^ (1 << unix.CAP_BPF), func(c capability) bool { return c.bit == unix.CAP_BPF }},
		{all &^ (1 << unix.CAP_PERFMON), func(c capability) bool { return c.bit == unix.CAP_PERFMON }},
	} {
		err := missingCapabilities(test.has)
		if err == nil {
			t.Errorf("with %#x: nothing is missing", test.has)
			continue
		}
		if msg := err.Error(); strings.Contains(msg, "\n") || !strings.Contains(msg, "Try: ") {
			t.Errorf("with %#x: not one line with a hint: %s", test.has, msg)
		}
		for _, c := range neededCapabilities {
			if got := strings.Contains(err.Error(), c.name+" ("+c.reason+")"); got != test.missing(c) {
				t.Errorf("with %#x: %s is named: %v, want %v: %v", test.has, c.name, got, test.missing(c), err)
			}
		}
	}
}

// TestDeployedCapabilities: what deploy/ grants is what is needed, each with its reason.
func TestDeployedCapabilities(t *testing.T) {
	var want []string
	for _, c := range neededCapabilities {
		want = append(want, c.name)
	}
	slices.Sort(want)

	manifest, err := os.ReadFile("../deploy/daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var daemonSet struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						SecurityContext struct {
							Privileged   *bool
							Capabilities struct{ Add, Drop []string }
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(manifest, &daemonSet); err != nil {
		t.Fatal(err)
	}
	for _, c := range daemonSet.Spec.Template.Spec.Containers {
		var got []string
		for _, name := range c.SecurityContext.Capabilities.Add {
			got = append(got, "CAP_"+name)
			if !regexp.MustCompile(`(?m)^ +- ` + name + ` # \w+`).Match(manifest) {
				t.Errorf("the DaemonSet does not say why %s is needed", name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("the DaemonSet adds %v, want %v", got, want)
		}
		if drop := c.SecurityContext.Capabilities.Drop; !slices.Equal(drop, []string{"ALL"}) {
			t.Errorf("the DaemonSet drops %v, want ALL", drop)
		}
		if p := c.SecurityContext.Privileged; p == nil || *p {
			t.Error("the DaemonSet does not say privileged: false")
		}
	}

	unit, err := os.ReadFile("../deploy/systemd/swolld.service")
	if err != nil {
		t.Fatal(err)
	}
	set := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindAllStringSubmatch(string(unit), -1)
	if len(set) != 1 {
		t.Fatalf("the unit has %d lines CapabilityBoundingSet=, want one", len(set))
	}
	got := strings.Fields(set[0][1])
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the unit grants %v, want %v", got, want)
	}
}
