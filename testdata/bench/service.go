package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/client"
)

// A service is a running swolld, with nothing of it outside the harness's directory.
type service struct {
	tool   *tool
	client *client.Client
}

// startService starts swolld, recording what appears below the harness's watched cgroup,
// and waits until it records. What could change the cost of a record is left at its
// default.
func startService(h *harness, swolld string, arg ...string) (*service, error) {
	if _, err := os.Stat(swolld); err != nil {
		return nil, fmt.Errorf("there is no %s. Try: make build", swolld)
	}
	socket := filepath.Join(h.dir, "swoll.sock")
	t, err := startTool(child(swolld, append([]string{
		"--socket", socket, "--state-dir", filepath.Join(h.dir, "state"), "--pin-dir", "", "--watch-cgroup", h.watch,
	}, arg...)...))
	if err != nil {
		return nil, err
	}
	s := &service{tool: t, client: &client.Client{Socket: socket}}
	if err := t.await(h.ctx, func() bool { return s.client.Ready(h.ctx) == nil }); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *service) stop() error {
	s.client.Close()
	return s.tool.stop(syscall.SIGTERM)
}

// recorded returns what swolld says of the records of a cgroup.
func (s *service) recorded(h *harness, cgroup string) (api.Ring, error) {
	pods, err := s.client.Pod(h.ctx, api.HostNamespace, filepath.Base(cgroup))
	if err != nil {
		return api.Ring{}, err
	}
	if len(pods) != 1 || len(pods[0].Containers) != 1 {
		return api.Ring{}, fmt.Errorf("swolld knows %d recordings of %s, not one", len(pods), cgroup)
	}
	return pods[0].Containers[0].Ring, nil
}

// withContainer makes a cgroup that swolld records, calls f, and removes it.
func withContainer(h *harness, f func(cgroup string) error) error {
	cgroup := filepath.Join(h.watch, "bench")
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	err := f(cgroup)
	// A process that has just ended can still be in it.
	for range 100 {
		e := unix.Rmdir(cgroup)
		if e == nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.Join(err, fmt.Errorf("remove %s: there are processes in it", cgroup))
}

// withSwolld measures the columns of swolld: the worker stays outside what is recorded,
// then moves into it.
func withSwolld(h *harness, measure measurer) (err error) {
	s, err := startService(h, h.swolld)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	if _, err := measure("attached"); err != nil {
		return err
	}
	return withContainer(h, func(cgroup string) error {
		return s.whileRecorded(h, cgroup, measure, "recorded", func() error {
			return s.whileDumped(h, cgroup, func() error {
				_, err := measure("dumped")
				return err
			})
		})
	})
}

// withUnfolded measures the column of a swolld that keeps each call apart.
func withUnfolded(h *harness, measure measurer) error {
	return withOneMore(h, measure, "unfolded", h.swolld, "--fold=false")
}

// withOther measures the column of another swolld.
func withOther(h *harness, measure measurer) error {
	return withOneMore(h, measure, againstColumn, h.other)
}

// withOneMore measures the column of a swolld that records the worker.
func withOneMore(h *harness, measure measurer, column, swolld string, arg ...string) (err error) {
	s, err := startService(h, swolld, arg...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return withContainer(h, func(cgroup string) error {
		return s.whileRecorded(h, cgroup, measure, column, func() error { return nil })
	})
}

// whileRecorded moves the worker into a cgroup, measures a column, sees that all was
// recorded, calls f, and moves the worker back.
func (s *service) whileRecorded(h *harness, cgroup string, measure measurer, column string, f func() error) (err error) {
	if err := h.moveWorker(cgroup); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.moveWorker(h.plain)) }()
	r, err := measure(column)
	if err != nil {
		return err
	}
	// A figure for a recorder that recorded nothing would be a fine figure.
	ring, err := s.recorded(h, cgroup)
	if made := ring.Records + ring.Overwritten; err == nil && made < r.Calls {
		err = fmt.Errorf("swolld recorded %d of %d calls, lost: %v", made, r.Calls, ring.Lost)
	}
	if err != nil {
		return err
	}
	return f()
}

// whileDumped calls f while the history of a cgroup is dumped over and over.
func (s *service) whileDumped(h *harness, cgroup string, f func() error) error {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	dumper := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			err := s.client.Dump(ctx, api.Selector{Namespace: api.HostNamespace, Pod: filepath.Base(cgroup)},
				api.DumpQuery{All: true}, io.Discard)
			if err != nil && ctx.Err() == nil {
				dumper <- fmt.Errorf("dump while the worker makes calls: %w", err)
				return
			}
		}
		dumper <- nil
	}()
	err := f()
	cancel()
	return errors.Join(err, <-dumper)
}
