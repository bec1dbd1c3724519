//go:build ignore

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r, err := http.Get("http://" + l.Addr().String())
			if err != nil {
				panic(err)
			}
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			time.Sleep(time.Duration(i) * time.Millisecond)
		}()
	}
	wg.Wait()
	os.WriteFile("go.out", make([]byte, 10000), 0o600)
	entries, _ := os.ReadDir("tree")
	out, err := exec.Command("echo", "child").CombinedOutput()
	fmt.Println(len(entries), string(out), err)
	os.Remove("go.out")
}
