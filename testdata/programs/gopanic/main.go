// Gopanic panics as programs in Go do: with a map that was never made.
package main

import "os"

type server struct{ peers map[string]int }

func (s *server) join(name string) { s.peers[name]++ }

func main() {
	(&server{}).join(os.Args[0])
}
