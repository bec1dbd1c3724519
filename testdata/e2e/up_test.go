package e2e

import "testing"

// A pod runs, its log can be read, and it goes.
func TestClusterRunsPods(t *testing.T) {
	t.Parallel()
	ns := namespace(t, "plain")
	createPod(t, ns, "{name: hello}", `{containers: [{name: main, image: "`+image("programs")+`", imagePullPolicy: Never,
		command: [sh, -c, "echo hello; exec sleep 1000"]}]}`)
	waitRunning(t, ns, "hello")
	if got := kubectl(t, "-n", ns, "logs", "hello"); got != "hello\n" {
		t.Errorf("the pod said %q", got)
	}
	if got := kubectl(t, "-n", ns, "exec", "hello", "--", "echo", "from within"); got != "from within\n" {
		t.Errorf("exec said %q", got)
	}
}
