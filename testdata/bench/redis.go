package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/ringstore"
)

const (
	redisRequests = 2000 // of each test of redis-benchmark
	redisTests    = 15   // that redis-benchmark makes, at least, in any version
)

// measureRedis measures how many bytes swolld needs for a call of redis-server on average
// while redis-benchmark makes all its tests, and notes it in the table.
func (h *harness) measureRedis(t *table, round int, r row) {
	services := map[string][]string{"recorded": {h.swolld}, "unfolded": {h.swolld, "--fold=false"}}
	if h.other != "" {
		services[againstColumn] = []string{h.other}
	}
	for _, c := range t.columns {
		service := services[c.name]
		if service == nil || t.broken[redisRow] != "" || t.broken[c.name] != "" {
			continue
		}
		err := h.withRedis(service, func(mean float64) { t.add(round, r, c, mean, mean) })
		if h.ctx.Err() != nil {
			return
		}
		if err != nil {
			t.broken[redisRow] = err.Error()
		}
	}
}

// withRedis measures with a service, given by its program and a flag.
func (h *harness) withRedis(service []string, report func(mean float64)) (err error) {
	// One ring, in which all fits that redis-server does here.
	s, err := startService(h, service[0], append([]string{"--memory", "64MiB", "--ring-size", "32MiB"}, service[1:]...)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	return withContainer(h, func(cgroup string) (err error) {
		server, err := startRedis(h, cgroup)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.stop(syscall.SIGTERM)) }()

		out, err := child("redis-benchmark", "-s", redisSocket(h), "-n", fmt.Sprint(redisRequests), "-q").CombinedOutput()
		if err != nil {
			return fmt.Errorf("redis-benchmark: %w:\n%s", err, out)
		}
		mean, err := s.meanRecord(h, cgroup)
		if err == nil {
			report(mean)
		}
		return err
	})
}

func redisSocket(h *harness) string { return filepath.Join(h.dir, "redis.sock") }

// startRedis starts redis-server in a cgroup, and waits until it listens.
func startRedis(h *harness, cgroup string) (*tool, error) {
	socket := redisSocket(h)
	server, err := startIn(cgroup, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", h.dir)
	if err != nil {
		return nil, err
	}
	err = server.await(h.ctx, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	if err != nil {
		return nil, errors.Join(err, server.stop(syscall.SIGTERM))
	}
	return server, nil
}

// startIn starts a program in a cgroup.
func startIn(cgroup string, argv ...string) (*tool, error) {
	dir, err := unix.Open(cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", cgroup, err)
	}
	defer unix.Close(dir)
	cmd := child(argv[0], argv[1:]...)
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, dir
	return startTool(cmd)
}

// meanRecord returns how many bytes of a ring a call takes, with its share of the heads of
// the pages.
func (s *service) meanRecord(h *harness, cgroup string) (float64, error) {
	stat, err := s.stat(h, cgroup)
	if err != nil {
		return 0, err
	}
	// A request is at least a read and a write.
	if held := stat.Records(); held < 2*redisTests*redisRequests {
		return 0, fmt.Errorf("swolld holds %d calls of redis-server, overwrote %d, lost %v; at least %d were expected",
			held, stat.TotalOverwritten(), stat.Lost, 2*redisTests*redisRequests)
	}
	return float64(stat.Bytes) / float64(stat.Records()), nil
}

// stat returns what the ring of a cgroup holds.
func (s *service) stat(h *harness, cgroup string) (ringstore.Stat, error) {
	pod := api.Selector{Namespace: api.HostNamespace, Pod: filepath.Base(cgroup)}
	made, err := s.client.Snapshot(h.ctx, pod, "bench")
	if err != nil {
		return ringstore.Stat{}, err
	}
	if len(made) != 1 {
		return ringstore.Stat{}, fmt.Errorf("swolld made %d snapshots, not one", len(made))
	}
	var file bytes.Buffer
	if err := s.client.SnapshotFile(h.ctx, made[0].ID, &file); err != nil {
		return ringstore.Stat{}, err
	}
	snapshot, err := ringstore.ReadSnapshot(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		return ringstore.Stat{}, err
	}
	if snapshot.Image() == nil {
		return ringstore.Stat{}, errors.New("there is nothing in the snapshot")
	}
	return snapshot.Image().Stat(), nil
}
