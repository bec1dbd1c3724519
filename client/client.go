// Package client talks to swolld, the node service, over its Unix domain socket.
//
// The zero Client is ready to use and connects to api.DefaultSocket. What the service
// refuses comes back as *api.Error, to be told apart with errors.Is(err, api.ErrNotFound)
// and the like; a service that cannot be reached is a *DialError. All methods are safe
// for concurrent use and return when their context is done.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/swoll-recorder/swoll/api"
)

// A Client is a connection to the service, made when it is first needed.
type Client struct {
	// Socket is the path of the service's socket; empty: api.DefaultSocket. It must not
	// change after the first call.
	Socket string
	// Dial, if not nil, connects to the service in place of Socket: to one on another
	// machine, say. It must not change after the first call.
	Dial func(context.Context) (net.Conn, error)
	// Warn is told, once, when the service is of another version than the client. It may
	// be nil.
	Warn func(msg string)

	init sync.Once
	http *http.Client
	warn sync.Once
}

// A DialError says that the service cannot be reached.
type DialError struct {
	Socket string // its path; empty where Client.Dial failed
	Err    error
}

// Error says what failed and what to try.
func (e *DialError) Error() string {
	if e.Socket == "" {
		return e.Err.Error()
	}
	try := "is swolld running?"
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		try = "start swolld, or give its socket with --socket"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		try = "swolld has ended there: start it again"
	case errors.Is(e.Err, fs.ErrPermission):
		try = "ask as root, or as a member of the socket's group"
	}
	reason := e.Err
	var errno syscall.Errno
	if errors.As(e.Err, &errno) {
		reason = errno // without the path again
	}
	return fmt.Sprintf("cannot reach swolld on %s: %v. Try: %s", e.Socket, reason, try)
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Close closes idle connections. The client can still be used.
func (c *Client) Close() { c.client().CloseIdleConnections() }

func (c *Client) client() *http.Client {
	c.init.Do(func() {
		socket := cmp.Or(c.Socket, api.DefaultSocket)
		c.http = &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				if c.Dial != nil {
					conn, err := c.Dial(ctx)
					if err != nil {
						return nil, &DialError{Err: err}
					}
					return conn, nil
				}
				conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
				if err != nil {
					return nil, &DialError{Socket: socket, Err: err}
				}
				return conn, nil
			},
			DisableCompression: c.Dial == nil, // it is the same machine
		}}
	})
	return c.http
}

// Pods lists what is recorded.
func (c *Client) Pods(ctx context.Context) ([]api.Pod, error) {
	var list api.List[api.Pod]
	err := c.get(ctx, "/v1/pods", nil, &list)
	return list.Items, err
}

// Pod lists what is recorded of one pod.
func (c *Client) Pod(ctx context.Context, namespace, name string) ([]api.Pod, error) {
	var list api.List[api.Pod]
	err := c.get(ctx, podPath(namespace, name), nil, &list)
	return list.Items, err
}

// Dump writes the history of the selected containers to w.
func (c *Client) Dump(ctx context.Context, sel api.Selector, q api.DumpQuery, w io.Writer) error {
	v := dumpValues(q)
	addSelector(v, sel)
	return c.stream(ctx, podPath(sel.Namespace, sel.Pod)+"/dump", v, w)
}

// DumpNode writes the histories of all containers of the node to w.
func (c *Client) DumpNode(ctx context.Context, q api.DumpQuery, w io.Writer) error {
	return c.stream(ctx, "/v1/dump", dumpValues(q), w)
}

// ExplainPod writes the verdict on the present history of a container to w; format is
// "text" (or "") or "json".
func (c *Client) ExplainPod(ctx context.Context, sel api.Selector, format string, w io.Writer) error {
	v := formatValues(format)
	addSelector(v, sel)
	return c.stream(ctx, podPath(sel.Namespace, sel.Pod)+"/explain", v, w)
}

// Freeze stops the recording of the selected containers, or with nil of the whole node. It
// returns how many rings were not frozen before.
func (c *Client) Freeze(ctx context.Context, sel *api.Selector) (int, error) {
	return c.change(ctx, "freeze", sel)
}

// Thaw undoes Freeze, and returns how many rings were frozen.
func (c *Client) Thaw(ctx context.Context, sel *api.Selector) (int, error) {
	return c.change(ctx, "thaw", sel)
}

func (c *Client) change(ctx context.Context, verb string, sel *api.Selector) (int, error) {
	path, v := "/v1/"+verb, url.Values{}
	if sel != nil {
		path = podPath(sel.Namespace, sel.Pod) + "/" + verb
		addSelector(v, *sel)
	}
	var changed api.Changed
	err := c.do(ctx, http.MethodPost, path, v, nil, &changed)
	return changed.Changed, err
}

// Snapshot saves the history of the selected containers, one snapshot each.
func (c *Client) Snapshot(ctx context.Context, sel api.Selector, reason string) ([]api.Snapshot, error) {
	v := url.Values{}
	addSelector(v, sel)
	var made api.SnapshotsCreated
	err := c.do(ctx, http.MethodPost, podPath(sel.Namespace, sel.Pod)+"/snapshots", v,
		api.SnapshotRequest{Reason: reason}, &made)
	return made.Items, err
}

// Snapshots lists what is saved.
func (c *Client) Snapshots(ctx context.Context) ([]api.Snapshot, error) {
	var list api.List[api.Snapshot]
	err := c.get(ctx, "/v1/snapshots", nil, &list)
	return list.Items, err
}

// SnapshotByID returns the metadata of a snapshot.
func (c *Client) SnapshotByID(ctx context.Context, id string) (api.Snapshot, error) {
	var snap api.Snapshot
	err := c.get(ctx, snapshotPath(id), nil, &snap)
	return snap, err
}

// SnapshotDump writes the history in a snapshot to w.
func (c *Client) SnapshotDump(ctx context.Context, id string, q api.DumpQuery, w io.Writer) error {
	return c.stream(ctx, snapshotPath(id)+"/dump", dumpValues(q), w)
}

// Explain writes the verdict on a snapshot to w; format is "text" (or "") or "json".
func (c *Client) Explain(ctx context.Context, id, format string, w io.Writer) error {
	return c.stream(ctx, snapshotPath(id)+"/explain", formatValues(format), w)
}

// SnapshotFile writes the file of a snapshot to w.
func (c *Client) SnapshotFile(ctx context.Context, id string, w io.Writer) error {
	return c.stream(ctx, snapshotPath(id)+"/file", nil, w)
}

// DeleteSnapshot removes a snapshot.
func (c *Client) DeleteSnapshot(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, snapshotPath(id), nil, nil, nil)
}

// Record begins to record the cgroup whose directory is at the absolute path cgroup, as a
// pod of that name (the path's base if empty) in the namespace api.HostNamespace.
func (c *Client) Record(ctx context.Context, cgroup, name string) (api.Pod, error) {
	var pod api.Pod
	err := c.do(ctx, http.MethodPost, "/v1/recordings", nil, api.RecordingRequest{Cgroup: cgroup, Name: name}, &pod)
	return pod, err
}

// Forget ends the recording of a name given to Record.
func (c *Client) Forget(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodDelete, "/v1/recordings/"+url.PathEscape(name), nil, nil, nil)
}

// Version returns the service's version.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	err := c.get(ctx, "/v1/version", nil, &v)
	return v, err
}

// Ready returns nil if the service records.
func (c *Client) Ready(ctx context.Context) error {
	return c.stream(ctx, "/readyz", nil, io.Discard)
}

// Live returns nil if the service answers at all.
func (c *Client) Live(ctx context.Context) error {
	return c.stream(ctx, "/healthz", nil, io.Discard)
}

// Metrics writes the service's metrics to w, in Prometheus's text format.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	return c.stream(ctx, "/metrics", nil, w)
}

// OpenAPI writes the description of the service's API to w.
func (c *Client) OpenAPI(ctx context.Context, w io.Writer) error {
	return c.stream(ctx, "/v1/openapi.yaml", nil, w)
}

func podPath(namespace, name string) string {
	return "/v1/pods/" + url.PathEscape(namespace) + "/" + url.PathEscape(name)
}

func snapshotPath(id string) string { return "/v1/snapshots/" + url.PathEscape(id) }

func addSelector(v url.Values, sel api.Selector) {
	if sel.Container != "" {
		v.Set("container", sel.Container)
	}
	if sel.Instance != nil {
		v.Set("instance", strconv.Itoa(*sel.Instance))
	}
}

func formatValues(format string) url.Values {
	v := url.Values{}
	if format != "" {
		v.Set("format", format)
	}
	return v
}

func dumpValues(q api.DumpQuery) url.Values {
	v := formatValues(q.Format)
	if q.Since != 0 {
		v.Set("since", q.Since.String())
	}
	if q.Last != 0 {
		v.Set("last", strconv.Itoa(q.Last))
	}
	if len(q.Syscalls) > 0 {
		v.Set("syscall", strings.Join(q.Syscalls, ","))
	}
	if q.PID != 0 {
		v.Set("pid", strconv.FormatUint(uint64(q.PID), 10))
	}
	if q.Errors {
		v.Set("errors", "true")
	}
	if q.FDs {
		v.Set("fds", "true")
	}
	if q.All {
		v.Set("all", "true")
	}
	if q.Split {
		v.Set("split", "true")
	}
	if q.NoHeader {
		v.Set("header", "false")
	}
	return v
}

func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, http.MethodGet, path, query, nil, out)
}

// do sends in, if not nil, as JSON, and reads the answer into out, if not nil.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("answer to %s %s: %w", method, path, err)
	}
	// To the end, so that the connection is used again.
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// stream copies an answer to w. An answer that was cut off is an error.
func (c *Client) stream(ctx context.Context, path string, query url.Values, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(w, resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("answer to GET %s was cut off: the service's log says why", path)
	}
	return err
}

// send returns answers of success only; the caller closes their body.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	target := "http://swoll" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	own := api.BuildVersion().Version
	req.Header.Set("User-Agent", "swoll/"+own)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client().Do(req)
	if err != nil {
		var dial *DialError
		if errors.As(err, &dial) {
			return nil, dial // not as "Get http://…": nobody asked for that
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if theirs, ok := strings.CutPrefix(resp.Header.Get("Server"), "swolld/"); ok && theirs != own && c.Warn != nil {
		c.warn.Do(func() {
			c.Warn(fmt.Sprintf("the service is version %s, this client is %s", theirs, own))
		})
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, problem(resp, method, path)
	}
	return resp, nil
}

// problem makes the error out of an answer that tells of one.
func problem(resp *http.Response, method, path string) error {
	if ct, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); ct == "application/problem+json" {
		e := new(api.Error)
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(e); err == nil {
			return e
		}
	}
	return fmt.Errorf("%s %s: %s; is that swolld?", method, path, resp.Status)
}
