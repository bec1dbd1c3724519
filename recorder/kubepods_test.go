package recorder

import (
	"path/filepath"
	"strings"
	"testing"
)

// The first container of a node is there from its first call, also where the service began
// before the kubelet made its cgroups: nobody gets a second to look for them.
func TestKubepodsAppears(t *testing.T) {
	nd := newNode(t, namings[3])
	nd.shut()
	nd.cfg.WatchCgroups = nil // as found: nothing yet
	nd.start()
	above := filepath.Join(nd.h.mount, "kubelet.slice")
	nd.root = filepath.Join(above, nd.naming.root)
	p := nd.pod()
	for _, dir := range []string{above, nd.root, filepath.Join(nd.root, nd.naming.qos)} {
		nd.mkdir(dir)
	}
	p.run()
	p.recorded()
	dump := p.dump()
	if first, _, _ := strings.Cut(dump, "execve("); strings.Contains(first, "recording began after") || first == dump {
		t.Errorf("the first container is not recorded from its first call on:\n%.2000s", dump)
	}
}
