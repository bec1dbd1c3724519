// Package cri tells a collection of containers what the node's container runtime knows of
// them, over the Container Runtime Interface (CRI, k8s.io/cri-api, v1): containerd's,
// CRI-O's or cri-dockerd's. It only asks; it changes nothing in the runtime.
//
// It listens to the runtime's events, where it has them (containerd 1.7, CRI-O), and also
// lists each second. So what the events don't tell is found a moment later, and all is
// found with a runtime that has none. While the runtime cannot be reached nothing is
// forgotten: a container is gone when a listing says so.
package cri

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/swoll-recorder/swoll/recorder/containers"
)

const (
	defaultPoll    = time.Second
	minPoll        = 100 * time.Millisecond // between lists, however many containers appear
	defaultTimeout = 5 * time.Second
	maxBackoff     = 2 * time.Second
	minBackoff     = 100 * time.Millisecond
	maxWait        = time.Minute // until the status of a container is asked again
	maxMessage     = 16 << 20    // bytes, of a listing; the kubelet's limit, too
)

// Config of a Client. Only Socket is needed.
type Config struct {
	Socket  string        // path of the runtime's socket, also with unix:// before it; see Find
	Logger  *slog.Logger  // nil: slog.Default()
	Poll    time.Duration // between two listings; 0: one second
	Timeout time.Duration // of each call; 0: 5 seconds
	Proc    string        // where the proc of the host's pid namespace is mounted; "": /proc
}

// wellKnown are the sockets that runtimes have by default. containerd comes last: it also
// runs below docker, without CRI, where another is the one that the kubelet uses.
var wellKnown = []string{
	"/run/k3s/containerd/containerd.sock",
	"/run/k0s/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock",
	"/run/crio/crio.sock",
	"/var/run/crio/crio.sock",
	"/run/cri-dockerd.sock",
	"/var/run/cri-dockerd.sock",
	"/run/containerd/containerd.sock",
	"/var/run/containerd/containerd.sock",
}

// Find returns the first well-known socket of a runtime that exists, or "".
func Find() string { return find(wellKnown) }

func find(paths []string) string {
	for _, p := range paths {
		if st, err := os.Stat(p); err == nil && st.Mode().Type() == os.ModeSocket {
			return p
		}
	}
	return ""
}

// A Client asks one runtime.
type Client struct {
	cfg       Config
	log       *slog.Logger
	connected atomic.Bool
}

// New checks the configuration. The socket need not exist yet.
func New(c Config) (*Client, error) {
	c.Socket = strings.TrimPrefix(c.Socket, "unix://")
	if !filepath.IsAbs(c.Socket) {
		return nil, fmt.Errorf("CRI socket %q: not an absolute path. Try: /run/containerd/containerd.sock", c.Socket)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Poll <= 0 {
		c.Poll = defaultPoll
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	return &Client{cfg: c, log: c.Logger.With("socket", c.Socket)}, nil
}

// Connected tells whether the runtime answered the last listing.
func (c *Client) Connected() bool { return c.connected.Load() }

// Run keeps coll up to date until ctx is done; it returns nil then. It waits for a runtime
// that is not there and connects again for ever. A Client is for one Run at a time.
func (c *Client) Run(ctx context.Context, coll *containers.Collection) error {
	conn, err := grpc.NewClient("unix:"+c.cfg.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: maxBackoff,
		}),
		// A proxy in the environment is not for a socket.
		grpc.WithNoProxy(),
	)
	if err != nil {
		return fmt.Errorf("CRI socket %s: %w", c.cfg.Socket, err)
	}
	defer conn.Close()
	defer c.connected.Store(false)

	s := &session{Client: c, api: runtimeapi.NewRuntimeServiceClient(conn), coll: coll, known: make(map[string]*known)}
	ctx, cancel := context.WithCancel(ctx)
	stream := make(chan struct{}) // closed when the reader of events has ended
	close(stream)
	events := make(chan *runtimeapi.ContainerEventResponse)
	ended := make(chan error, 1)
	nameless := make(chan struct{}, 1) // the collection has a container without a name
	var watch sync.WaitGroup
	watch.Go(func() {
		for ev := range coll.Events(ctx, containers.Selector{}) {
			if ev.Kind == containers.EventStart && ev.Container.Name == "" && ev.Container.Kind != containers.KindSandbox {
				select {
				case nameless <- struct{}{}:
				default:
				}
			}
		}
	})
	defer func() { cancel(); <-stream; watch.Wait() }()

	var (
		listening bool
		hasEvents = true // as far as is known
		wait      time.Duration
		listAt    = time.NewTimer(0)
		failed    bool // that it cannot be reached has been logged
		listed    time.Time
	)
	defer listAt.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev := <-events:
			s.event(ctx, ev)
		case err := <-ended:
			listening = false
			if status.Code(err) == codes.Unimplemented {
				hasEvents = false
				c.log.Info("the container runtime has no events; it is asked for a list in an interval", "interval", c.cfg.Poll)
			} else {
				c.log.Debug("the container runtime's events ended", "err", err)
			}
		case <-nameless:
			// One that dies at once may be gone from the list a second later.
			if c.connected.Load() {
				listAt.Reset(max(0, time.Until(listed.Add(minPoll))))
			}
		case <-listAt.C:
			listed = time.Now()
			err := s.sync(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				c.connected.Store(false)
				s.runtime = ""
				hasEvents = true // it may come back as another version
				if !failed {
					failed = true
					c.log.Warn("the container runtime cannot be asked; pods keep the names that they have. Try: check that it runs, and serves CRI v1 there", "err", err)
				}
				wait = min(max(2*wait, minBackoff), maxBackoff)
				listAt.Reset(wait)
				continue
			}
			if !c.connected.Swap(true) {
				failed, wait = false, 0
				c.log.Info("connected to the container runtime", "runtime", s.runtime, "version", s.version)
			}
			if hasEvents && !listening {
				listening = true
				stream = make(chan struct{})
				go func() {
					defer close(stream)
					ended <- s.listen(ctx, events)
				}()
			}
			listAt.Reset(c.cfg.Poll)
		}
	}
}

// listen hands on the runtime's events until they end, and says why.
func (s *session) listen(ctx context.Context, events chan<- *runtimeapi.ContainerEventResponse) error {
	stream, err := s.api.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return err
	}
	for {
		ev, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case events <- ev:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errRound ends a round of questions: the runtime hangs.
var errRound = errors.New("the container runtime does not answer in time")
