// Swolld is the node service of swoll: it records every system call of every container
// into rings of the container's own, saves them when a container dies badly, and serves
// them on a Unix domain socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder"
)

// The exit statuses.
type exitStatus int

const (
	exitDone   exitStatus = 0
	exitFailed exitStatus = 1
	exitUsage  exitStatus = 2
)

func main() { os.Exit(int(run(os.Args[1:], serve))) }

// run is the program, with the service itself apart.
func run(args []string, service func(context.Context, *options) error) exitStatus {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends it at once

	cmd := newCommand(service)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(os.Stderr, "swolld: %s\n", oneLine(err))
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// oneLine is the message of err, and its hint, on one line.
func oneLine(err error) string {
	msg := err.Error()
	if e := (*api.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		msg += ". Try: " + e.Hint
	}
	return strings.Join(strings.Fields(msg), " ")
}

// memoryLimit is what the service tries to stay below: where it has more, as while the
// largest history is read, it collects garbage sooner. Rings are the kernel's and not counted.
const memoryLimit = 144 << 20

// serve records and answers until ctx is done.
func serve(ctx context.Context, o *options) (err error) {
	log := o.logger()
	slog.SetDefault(log)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	if o.uninstall {
		return recorder.Uninstall(o.recorder.PinDir, log)
	}

	// First the socket: where another service answers, nothing of it must be touched.
	ln, err := api.ListenActivated()
	if err != nil {
		return err
	}
	if ln == nil {
		if ln, err = api.Listen(o.socket, o.socketGroup); err != nil {
			return err
		}
	}
	defer ln.Close()

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cfg := o.recorder
	cfg.Logger, cfg.Registerer = log, metrics
	if cfg.Secrets, err = o.secrets(); err != nil {
		return err
	}
	names, err := newSources(o, log)
	if err != nil {
		return err
	}
	if names != nil {
		cfg.Containers, cfg.OnSnapshot = names.containers, names.announce
	}
	// It must answer after the service was told to stop.
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	defer unwatch()
	removal, err := names.watchRemoval(watching)
	if err != nil {
		return err
	}
	rec, err := recorder.New(ctx, cfg)
	if err != nil {
		return err
	}
	removed := false
	defer func() {
		// Comes last: when nothing of the recorder is in use any more.
		if err == nil && removed {
			err = recorder.Remove(cfg.PinDir, cfg.StateDir, log)
		}
	}()
	defer func() { err = errors.Join(err, rec.Close()) }()

	server := api.NewServer(api.Config{
		Backend:     rec,
		Metrics:     promhttp.HandlerFor(metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), DisableCompression: true}),
		Log:         log,
		Group:       ln.Group,
		GroupPermit: o.groupPermit,
	})
	// Told to stop, the service goes on until it knows whether it is to leave anything.
	told := ctx
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer stop()
		select {
		case <-told.Done():
			removed = removal != nil && removal.Removed(watching)
		case <-ctx.Done():
		}
		return nil
	})
	g.Go(func() error { return rec.Run(ctx) })
	if names != nil {
		g.Go(func() error { return names.run(ctx, rec) })
	}
	g.Go(func() error { return server.Serve(ctx, ln) })
	log.Info("serving", "socket", ln.Path(), "version", api.BuildVersion().Version)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("the service manager was not told that the service is ready", "err", err)
	}
	err = g.Wait()
	daemon.SdNotify(false, daemon.SdNotifyStopping)
	log.Info("stopped", "pinned", cfg.PinDir != "")
	return err
}
