// Command pause is all that the tests' image has. It waits for SIGTERM; as "pause exit N"
// it exits with N.
package main

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == "exit" {
		n, err := strconv.Atoi(os.Args[2])
		if err != nil {
			n = 125
		}
		os.Exit(n)
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	<-c
}
