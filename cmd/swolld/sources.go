package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/recorder"
	"github.com/swoll-recorder/swoll/recorder/containers"
	"github.com/swoll-recorder/swoll/recorder/cri"
	"github.com/swoll-recorder/swoll/recorder/installation"
	"github.com/swoll-recorder/swoll/recorder/kube"
)

// namespaceVariable holds the namespace that the service's pod is in: where it is deleted,
// swoll is being taken off the cluster. deploy/ sets it.
const namespaceVariable = "POD_NAMESPACE"

// watchRemoval watches whether swoll is being taken off the cluster. Nil: it is in none.
func (s *sources) watchRemoval(ctx context.Context) (*installation.Watcher, error) {
	namespace := os.Getenv(namespaceVariable)
	if s == nil || s.kube == nil || !s.inCluster || namespace == "" {
		return nil, nil
	}
	return installation.Watch(ctx, s.kube.API(), namespace, s.log)
}

// criEvery is how often a container runtime is looked for where none was found: it may
// start after the service.
const criEvery = 5 * time.Second

// consentEvery is how long a consent that could not be set waits.
const consentEvery = time.Second

// maxSaid bounds the annotations that it is said of that they cannot be read.
const maxSaid = 1000

// announceEvery is how long an announcement waits for the client.
const announceEvery = 100 * time.Millisecond

// sources are those that know what the recorded containers are called.
type sources struct {
	log        *slog.Logger
	containers *containers.Collection
	criSocket  string       // empty: as found
	kube       *kube.Client // nil: the API server is not asked
	inCluster  bool         // as a pod of its own cluster
	alone      bool         // since nobody said where it is
	consent    func(podUID string, c kube.Consent)

	announcements chan kube.Announcement
}

// newSources makes the sources that the options name, and nothing that needs any of them
// to answer. Nil: they name none.
func newSources(o *options, log *slog.Logger) (*sources, error) {
	s := &sources{log: log, criSocket: o.cri, announcements: make(chan kube.Announcement, 256)}
	var enrichers []containers.Enricher
	if o.kubernetes {
		client, err := kube.New(kube.Config{
			Kubeconfig: o.kubeconfig,
			Node:       nodeName(o.recorder.NodeName),
			Logger:     log,
			Consent:    func(podUID string, c kube.Consent) { s.consent(podUID, c) },
		})
		switch {
		case errors.Is(err, rest.ErrNotInCluster):
			s.alone = true
		case err != nil:
			return nil, err
		default:
			s.kube, s.inCluster = client, o.kubeconfig == ""
			enrichers = append(enrichers, client)
		}
	}
	if s.kube == nil && s.criSocket == "none" {
		return nil, nil
	}
	s.containers = containers.New(containers.Options{Enrichers: enrichers})
	return s, nil
}

// nodeName is the node's name where nobody gave it: as the kubelet calls it, by default.
func nodeName(given string) string {
	if given != "" {
		return given
	}
	host, _ := os.Hostname()
	return strings.ToLower(strings.TrimSpace(host))
}

// run keeps the collection up to date until ctx is done. A source that does not answer is
// asked again for ever.
func (s *sources) run(ctx context.Context, rec *recorder.Recorder) error {
	g, ctx := errgroup.WithContext(ctx)
	if s.alone {
		s.log.Info("this is no pod, and no --kubeconfig is given: the API server is not asked")
	}
	if s.criSocket != "none" {
		g.Go(func() error { return s.runCRI(ctx) })
	}
	s.consent = func(podUID string, c kube.Consent) { s.setConsent(ctx, rec, podUID, c) }
	if s.kube == nil {
		// The runtime tells a pod's annotations as they were when it was made.
		g.Go(func() error {
			said := map[string]bool{}
			for ev := range s.containers.Events(ctx, containers.Selector{}) {
				uid := ev.Container.PodUID
				bad := func(key, value string) {
					if k := uid + key + value; !said[k] && len(said) < maxSaid {
						said[k] = true
						s.log.Warn("annotation cannot be read, and is taken as a refusal", "pod", ev.Container.Namespace+"/"+ev.Container.Pod, "annotation", key, "value", value)
					}
				}
				if c := kube.ConsentOf(ev.Container.Annotations, bad); c != (kube.Consent{}) && uid != "" {
					s.consent(uid, c)
				}
			}
			return nil
		})
	} else {
		g.Go(func() error { return s.kube.Run(ctx, s.containers) })
		g.Go(func() error { return s.runAnnouncements(ctx) })
	}
	return g.Wait()
}

// setConsent sets what a pod consents to. What was refused must not be recorded because of
// an error that passes.
func (s *sources) setConsent(ctx context.Context, rec *recorder.Recorder, podUID string, c kube.Consent) {
	for said := false; ; said = true {
		err := rec.SetConsent(podUID, recorder.Consent{NoRecord: c.NoRecord, NoPayload: c.NoPayload, Payload: c.Payload})
		if err == nil || ctx.Err() != nil {
			return
		}
		if !said {
			s.log.Error("setting what a pod consents to; it is tried again", "uid", podUID, "record", !c.NoRecord, "payload", !c.NoPayload, "payloadBytes", c.Payload, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(consentEvery):
		}
	}
}

func (s *sources) runCRI(ctx context.Context) error {
	socket := s.criSocket
	for said := false; socket == ""; said = true {
		if socket = cri.Find(); socket != "" {
			break
		}
		if !said {
			s.log.Info("no container runtime is found; it is looked for", "every", criEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(criEvery):
		}
	}
	client, err := cri.New(cri.Config{Socket: socket, Logger: s.log})
	if err != nil {
		return err
	}
	return client.Run(ctx, s.containers)
}

// announce tells the pod's owner of a snapshot. It does not block.
func (s *sources) announce(snap api.Snapshot) {
	if s.kube == nil || snap.UID == "" || snap.Deleted {
		return // who deletes a pod need not be warned of its end
	}
	name := snap.Namespace + "/" + snap.Pod
	a := kube.Announcement{
		Namespace: snap.Namespace, Pod: snap.Pod, UID: snap.UID, Container: snap.Container,
		Reason: "SwollSnapshot",
		Message: fmt.Sprintf("container %s, restart %d: %s. Its last system calls are saved as %s. To see why: kubectl swoll explain %s -c %s",
			snap.Container, snap.Instance, cmp.Or(snap.Reason, "saved by hand"), snap.ID, name, snap.Container),
	}
	select {
	case s.announcements <- a:
	default:
		s.log.Warn("a pod is not told of its snapshot: too many wait", "pod", name, "id", snap.ID)
	}
}

// runAnnouncements hands on what announce was given, also before the client ran: deaths
// while no service was there are saved at its start.
func (s *sources) runAnnouncements(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-s.announcements:
			for {
				err := s.kube.Announce(a)
				if err == nil {
					break
				}
				s.log.Debug("a pod is not told of its snapshot yet", "pod", a.Namespace+"/"+a.Pod, "err", err)
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(announceEvery):
				}
			}
		}
	}
}
