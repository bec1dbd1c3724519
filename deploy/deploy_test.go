// Package deploy_test checks that the manifests ask for no more than they say.
package deploy_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// read reads the document of a kind from a file, strictly: an unknown field is an error.
func read(t *testing.T, file, kind string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var head struct{ Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if head.Kind == kind {
			if err := yaml.UnmarshalStrict(doc, into); err != nil {
				t.Fatalf("%s: %s: %v", file, kind, err)
			}
			return
		}
	}
	t.Fatalf("%s has no %s", file, kind)
}

func TestRights(t *testing.T) {
	var role rbacv1.ClusterRole
	read(t, "rbac.yaml", "ClusterRole", &role)
	got := map[string][]string{}
	for _, rule := range role.Rules {
		if !slices.Equal(rule.APIGroups, []string{""}) || rule.NonResourceURLs != nil {
			t.Errorf("a rule beyond the core group: %+v", rule)
		}
		for _, r := range rule.Resources {
			got[r] = append(got[r], rule.Verbs...)
		}
	}
	want := map[string][]string{
		"pods": {"get", "list", "watch"}, "namespaces": {"get", "list", "watch"}, "events": {"create", "patch"},
	}
	if len(got) != len(want) {
		t.Errorf("resources: %v, want %v", got, want)
	}
	for r, verbs := range want {
		if slices.Sort(got[r]); !slices.Equal(got[r], verbs) {
			t.Errorf("%s: %v, want %v", r, got[r], verbs)
		}
	}
}

func TestDaemonSet(t *testing.T) {
	var ds appsv1.DaemonSet
	read(t, "daemonset.yaml", "DaemonSet", &ds)
	pod := ds.Spec.Template.Spec
	if pod.HostNetwork || pod.HostIPC || len(pod.Containers) != 1 || pod.InitContainers != nil {
		t.Errorf("host network %v, host IPC %v, %d containers", pod.HostNetwork, pod.HostIPC, len(pod.Containers))
	}
	c := pod.Containers[0]
	sc := c.SecurityContext
	no := func(b *bool) bool { return b != nil && !*b }
	if !no(sc.Privileged) || !no(sc.AllowPrivilegeEscalation) || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
		t.Errorf("privileged, or with a root file system to write to: %+v", sc)
	}
	if sc.SeccompProfile == nil || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("seccomp: %+v", sc.SeccompProfile)
	}
	if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.StartupProbe == nil {
		t.Error("a probe is missing")
	}
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if c.Resources.Limits[r] == (corev1.ResourceList{})[r] || c.Resources.Requests[r] == (corev1.ResourceList{})[r] {
			t.Errorf("no limit or no request of %s", r)
		}
	}
	// What is made on the node for a pod stays there: so nothing may be.
	for _, v := range pod.Volumes {
		if h := v.HostPath; h != nil && (h.Type == nil || *h.Type != corev1.HostPathDirectory) {
			t.Errorf("volume %s may make %s on the node", v.Name, h.Path)
		}
	}
	writable := map[string]string{}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			writable[m.Name] = m.MountPath
		}
	}
	if len(writable) != 3 || writable["bpffs"] == "" || writable["state"] == "" || writable["socket"] == "" {
		t.Errorf("writable: %v, want bpffs, state and socket", writable)
	}
}
