// Package e2e has no code but tests. They bring up a whole Kubernetes on this machine, of
// one node, run the programs of this project on it, and look at them as users do.
//
// Everything that the cluster is made of lives in mount and network namespaces of its own
// (inside_test.go), so that it finds nothing of the machine's and leaves nothing on it; what
// cannot be had per namespace, the cgroups, is removed at the end, or when the next run
// starts. It takes root, and the tools of testdata/packages.sh.
package e2e
