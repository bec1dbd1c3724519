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

// measureRedis measures how many bytes swolld's records of redis-server have on average
// while redis-benchmark makes all its tests, and notes it in the table.
func (h *harness) measureRedis(t *table, round int, r row) {
	services := map[string]string{"recorded": h.swolld, againstColumn: h.other}
	for _, c := range t.columns {
		if services[c.name] == "" || t.broken[redisRow] != "" || t.broken[c.name] != "" {
			continue
		}
		err := h.withRedis(services[c.name], func(mean float64) { t.add(round, r, c, mean) })
		if h.ctx.Err() != nil {
			return
		}
		if err != nil {
			t.broken[redisRow] = err.Error()
		}
	}
}

func (h *harness) withRedis(swolld string, report func(mean float64)) (err error) {
	// One ring, in which all fits that redis-server does here.
	s, err := startService(h, swolld, "--memory", "64MiB", "--ring-size", "32MiB")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	return withContainer(h, func(cgroup string) (err error) {
		dir, err := unix.Open(cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", cgroup, err)
		}
		defer unix.Close(dir)
		socket := filepath.Join(h.dir, "redis.sock")
		cmd := child("redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", h.dir)
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, dir
		server, err := startTool(cmd)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.stop(syscall.SIGTERM)) }()
		err = server.await(h.ctx, func() bool {
			_, err := os.Stat(socket)
			return err == nil
		})
		if err != nil {
			return err
		}

		out, err := child("redis-benchmark", "-s", socket, "-n", fmt.Sprint(redisRequests), "-q").CombinedOutput()
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

// meanRecord returns how many bytes of a ring a record takes, with its share of the
// heads of the pages.
func (s *service) meanRecord(h *harness, cgroup string) (float64, error) {
	pod := api.Selector{Namespace: api.HostNamespace, Pod: filepath.Base(cgroup)}
	made, err := s.client.Snapshot(h.ctx, pod, "bench")
	if err != nil {
		return 0, err
	}
	if len(made) != 1 {
		return 0, fmt.Errorf("swolld made %d snapshots, not one", len(made))
	}
	var file bytes.Buffer
	if err := s.client.SnapshotFile(h.ctx, made[0].ID, &file); err != nil {
		return 0, err
	}
	snapshot, err := ringstore.ReadSnapshot(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		return 0, err
	}
	if snapshot.Image() == nil {
		return 0, errors.New("there is nothing in the snapshot")
	}
	stat := snapshot.Image().Stat()
	// A request is at least a read and a write.
	if held := stat.Records(); held < 2*redisTests*redisRequests {
		return 0, fmt.Errorf("swolld holds %d records of redis-server, overwrote %d, lost %v; at least %d were expected",
			held, stat.TotalOverwritten(), stat.Lost, 2*redisTests*redisRequests)
	}
	return float64(stat.Bytes) / float64(stat.Records()), nil
}
