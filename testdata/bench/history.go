package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A load starts a program in a cgroup and keeps it busy until the returned function stops
// it; that one waits as long as the load takes, or until enough of it was recorded.
type load func(h *harness, cgroup string) (work, stop func() error, err error)

var loads = map[string]load{
	redisTime: redisLoad,
	nginxTime: nginxLoad,
	pollTime: pythonLoad(`
import select, socket
a, b = socket.socketpair()
p = select.poll()
p.register(a, select.POLLIN)
while True:
    p.poll(1)
`, 10*time.Second),
	waitTime: pythonLoad(`
import os, time
while not os.path.exists('/nonexistent/ready'):
    time.sleep(0.001)
`, 3*time.Second),
}

// measureHistory measures how many seconds of a program's life 1 MiB of ring holds, with
// runs folded and without, in the first round only: it does not depend on how fast the
// machine is at the moment.
func (h *harness) measureHistory(t *table, round int, r row, l load) {
	if round > 0 {
		return
	}
	for _, c := range t.columns {
		var args []string
		switch c.name {
		case "recorded":
		case "unfolded":
			args = []string{"--fold=false"}
		default:
			continue
		}
		if t.broken[r.name] != "" || t.broken[c.name] != "" {
			continue
		}
		seconds, err := h.history(l, args)
		if h.ctx.Err() != nil {
			return
		}
		if err != nil {
			t.broken[r.name] = err.Error()
			return
		}
		t.add(round, r, c, seconds, seconds)
	}
}

// history returns for how many seconds of a load 1 MiB of ring is enough.
func (h *harness) history(l load, args []string) (seconds float64, err error) {
	// One ring, in which all fits.
	s, err := startService(h, h.swolld, append([]string{"--memory", "64MiB", "--ring-size", "64MiB"}, args...)...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return seconds, withContainer(h, func(cgroup string) (err error) {
		work, stop, err := l(h, cgroup)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		before, err := s.stat(h, cgroup)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := work(); err != nil {
			return err
		}
		took := time.Since(begin)
		after, err := s.stat(h, cgroup)
		if err != nil {
			return err
		}
		if after.TotalOverwritten() > 0 || after.Bytes <= before.Bytes {
			return fmt.Errorf("%d bytes of records before, %d after, %d calls overwritten", before.Bytes, after.Bytes, after.TotalOverwritten())
		}
		seconds = (1 << 20) * took.Seconds() / float64(after.Bytes-before.Bytes)
		return nil
	})
}

func (h *harness) sleep(d time.Duration) error {
	select {
	case <-h.ctx.Done():
		return h.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// pythonLoad is a program that runs by itself.
func pythonLoad(program string, length time.Duration) load {
	return func(h *harness, cgroup string) (work, stop func() error, err error) {
		// The interpreter itself, not a script that looks for it.
		path, err := exec.Command("python3", "-c", "import sys; print(sys.executable, end='')").Output()
		if err != nil {
			return nil, nil, fmt.Errorf("python3: %w", err)
		}
		t, err := startIn(cgroup, string(path), "-c", program)
		if err != nil {
			return nil, nil, err
		}
		stop = func() error { return t.stop(syscall.SIGKILL) }
		// Until it is past its beginning.
		if err := h.sleep(time.Second); err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		return func() error { return h.sleep(length) }, stop, nil
	}
}

func redisLoad(h *harness, cgroup string) (work, stop func() error, err error) {
	server, err := startRedis(h, cgroup)
	if err != nil {
		return nil, nil, err
	}
	work = func() error {
		out, err := child("redis-benchmark", "-s", redisSocket(h), "-t", "get,set", "-n", "20000", "-q").CombinedOutput()
		if err != nil {
			return fmt.Errorf("redis-benchmark: %w:\n%s", err, out)
		}
		return nil
	}
	return work, func() error { return server.stop(syscall.SIGTERM) }, nil
}

// nginxLoad asks nginx for a small page 100 times a second.
func nginxLoad(h *harness, cgroup string) (work, stop func() error, err error) {
	socket := filepath.Join(h.dir, "nginx.sock")
	conf := filepath.Join(h.dir, "nginx.conf")
	config := fmt.Sprintf(`daemon off;
worker_processes 1;
user root;
pid %[1]s/nginx.pid;
error_log stderr;
events {}
http {
	access_log %[1]s/nginx.log;
	client_body_temp_path %[1]s/nginx-body;
	proxy_temp_path %[1]s/nginx-proxy;
	fastcgi_temp_path %[1]s/nginx-fastcgi;
	uwsgi_temp_path %[1]s/nginx-uwsgi;
	scgi_temp_path %[1]s/nginx-scgi;
	server { listen unix:%[2]s; location / { root %[1]s/etc/app/conf.d; } }
}
`, h.dir, socket)
	if err := os.WriteFile(conf, []byte(config), 0o644); err != nil {
		return nil, nil, err
	}
	_ = os.Remove(socket) // of the one before
	server, err := startIn(cgroup, "nginx", "-c", conf)
	if err != nil {
		return nil, nil, err
	}
	stop = func() error { return server.stop(syscall.SIGTERM) }
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	ask := func() error {
		resp, err := client.Get("http://nginx/settings.yaml")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("nginx answers %s, %v", resp.Status, err)
		}
		return nil
	}
	if err := server.await(h.ctx, func() bool { return ask() == nil }); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	work = func() error {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range 300 {
			<-tick.C
			if err := ask(); err != nil {
				return err
			}
		}
		return h.ctx.Err()
	}
	return work, stop, nil
}
