// Package containers is the set of containers of a node: who they are, found by id, by
// cgroup, by namespace, by pod or by labels, with a subscription to their starts and ends.
//
// Nothing in it talks to anybody. Sources (package cri, package kube, the recorder) tell a
// Collection what they learn, each its part and in any order; Enrichers add what they know
// whenever something changed. A Collection is safe for concurrent use.
package containers
