package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/swoll-recorder/swoll/client/cluster"
)

// pluginName is the name under which kubectl runs this program, as `kubectl swoll`.
const pluginName = "kubectl-swoll"

const pluginLong = `kubectl swoll asks swoll, the flight recorder on a cluster's nodes, for the last system
calls of a pod, now or as a snapshot kept them when a container died, and what they
tell about why.

POD is NAMESPACE/NAME, or NAME in the context's namespace or that of -n. Where no pod
is named, all nodes are asked. Cgroups that belong to no pod are in the namespace
"host". show and explain read snapshot files, too. kubectl's flags that say which
cluster is meant, and as whom, are understood.

Exit status: 0 done, 1 failed, or some nodes did not answer, 2 wrong usage, 3 not
found, 4 no service, or not the cluster, can be reached, 5 denied.`

// isPlugin tells whether the program was started under kubectl's name for it.
func isPlugin(argv0 string) bool {
	return strings.TrimSuffix(filepath.Base(argv0), ".exe") == pluginName
}

// A plugin is the flags of kubectl swoll.
type plugin struct {
	cluster cluster.Flags
	node    string
}

// addTo adds the flags to all commands, and takes away the commands that are about the
// machine that they are run on.
func (p *plugin) addTo(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&p.node, "node", "", "ask only the `node` of that name (default: the pod's, or all)")
	namespace := cluster.DefaultNamespace
	if s := os.Getenv("SWOLL_NAMESPACE"); s != "" {
		namespace = s
	}
	f.StringVar(&p.cluster.SwollNamespace, "swoll-namespace", namespace, "`namespace` that swoll is installed in; also $SWOLL_NAMESPACE")
	p.cluster.AddTo(f)
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "record", "run", "forget":
			name := cmd.Name()
			cmd.Hidden = true
			cmd.DisableFlagParsing = true // whatever they are, this is the answer
			cmd.Args = nil
			cmd.RunE = func(*cobra.Command, []string) error {
				return usagef("%s is about cgroups of the machine that it is run on. Try: on the node, swoll-dump %s", name, name)
			}
		}
	}
}

// connect reads which cluster is meant.
func (p *plugin) connect() (*cluster.Cluster, error) {
	// Libraries log what comes back as an error, too.
	var quiet flag.FlagSet
	klog.InitFlags(&quiet)
	_ = quiet.Set("logtostderr", "false")
	_ = quiet.Set("stderrthreshold", "FATAL")
	klog.SetOutput(io.Discard)
	return p.cluster.Connect()
}
