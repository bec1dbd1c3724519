package api

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A route says what a method of a path needs and does.
type route struct {
	method, path string
	permit       Permission
	audit        string   // what the log calls it, with who did it; "": not logged
	query        []string // the parameters it knows
	handler      func(*Server, *response, *call) error
}

// routes is the whole API. The second part is the older traceloop's.
var routes []route

func init() {
	pod := "/v1/pods/{namespace}/{pod}"
	snapshot := "/v1/snapshots/{id}"
	dump := slices.Concat(selectorQuery, filterQuery)
	routes = []route{
		{"GET", "/v1/pods", PermitRead, "", nil, (*Server).pods},
		{"GET", pod, PermitRead, "", nil, (*Server).pod},
		{"GET", pod + "/dump", PermitRead, "dump", dump, (*Server).dump},
		{"GET", pod + "/explain", PermitRead, "explain", slices.Concat(selectorQuery, formatQuery), (*Server).explainPod},
		{"POST", pod + "/freeze", PermitWrite, "freeze", selectorQuery, (*Server).freeze},
		{"POST", pod + "/thaw", PermitWrite, "thaw", selectorQuery, (*Server).thaw},
		{"POST", pod + "/snapshots", PermitWrite, "snapshot", selectorQuery, (*Server).takeSnapshot},
		{"GET", "/v1/snapshots", PermitRead, "", nil, (*Server).snapshots},
		{"GET", snapshot, PermitRead, "", nil, (*Server).snapshot},
		{"GET", snapshot + "/dump", PermitRead, "dump", filterQuery, (*Server).snapshotDump},
		{"GET", snapshot + "/explain", PermitRead, "explain", formatQuery, (*Server).explain},
		{"GET", snapshot + "/file", PermitRead, "export", nil, (*Server).snapshotFile},
		{"DELETE", snapshot, PermitWrite, "delete", nil, (*Server).deleteSnapshot},
		{"POST", "/v1/recordings", PermitWrite, "record", nil, (*Server).record},
		{"DELETE", "/v1/recordings/{name}", PermitWrite, "forget", nil, (*Server).forget},
		{"GET", "/v1/dump", PermitRead, "dump", filterQuery, (*Server).dumpNode},
		{"POST", "/v1/freeze", PermitWrite, "freeze", nil, (*Server).freeze},
		{"POST", "/v1/thaw", PermitWrite, "thaw", nil, (*Server).thaw},
		{"GET", "/v1/version", PermitRead, "", nil, (*Server).version},
		{"GET", "/v1/openapi.yaml", PermitRead, "", nil, (*Server).openAPI},
		{"GET", "/healthz", PermitRead, "", nil, (*Server).healthz},
		{"GET", "/readyz", PermitRead, "", nil, (*Server).readyz},
		{"GET", "/metrics", PermitRead, "", nil, (*Server).metrics},

		{"GET", "/list", PermitRead, "", nil, (*Server).legacyList},
		{"GET", "/dump-pod", PermitRead, "dump", []string{"namespace", "podname", "idx"}, (*Server).legacyDumpPod},
		{"GET", "/dump-by-cgroup", PermitRead, "dump", []string{"cgroup"}, (*Server).legacyDumpCgroup},
		{"GET", "/add", PermitWrite, "record", []string{"name", "cgrouppath"}, (*Server).legacyAdd},
		{"GET", "/close", PermitWrite, "forget", []string{"id"}, (*Server).legacyClose},
	}
}

const (
	typeJSON     = "application/json"
	typeText     = "text/plain; charset=utf-8"
	typeLines    = "application/x-ndjson" // one JSON object a line
	typeSnapshot = "application/vnd.swoll.snapshot"
)

//go:embed openapi.yaml
var openAPI []byte

func (s *Server) pods(w *response, c *call) error {
	pods, err := s.cfg.Backend.Pods(c.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, typeJSON, List[Pod]{pods})
}

func (s *Server) pod(w *response, c *call) error {
	pods, err := s.findPod(c, c.vars["namespace"], c.vars["pod"])
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, typeJSON, List[Pod]{pods})
}

// findPod finds the pods of that name: one, or some that followed each other under it.
func (s *Server) findPod(c *call, namespace, name string) ([]Pod, error) {
	pods, err := s.cfg.Backend.Pods(c.Context())
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool {
		return p.Namespace != namespace || p.Name != name
	})
	if len(pods) == 0 {
		return nil, Errorf(CodeNotFound, "no pod %s/%s is recorded", short(namespace), short(name)).
			WithHint("GET /v1/pods, which lists what is")
	}
	return pods, nil
}

func (s *Server) dump(w *response, c *call) error {
	sel, err := c.selector()
	if err != nil {
		return err
	}
	q, err := c.dumpQuery()
	if err != nil {
		return err
	}
	return s.history(w, c, dumpType(q.Format), func(out io.Writer) error {
		return s.cfg.Backend.Dump(c.Context(), sel, q, out)
	})
}

func (s *Server) dumpNode(w *response, c *call) error {
	q, err := c.dumpQuery()
	if err != nil {
		return err
	}
	return s.history(w, c, dumpType(q.Format), func(out io.Writer) error {
		return s.cfg.Backend.DumpNode(c.Context(), q, out)
	})
}

func (s *Server) explainPod(w *response, c *call) error {
	sel, err := c.selector()
	if err != nil {
		return err
	}
	format, err := c.format("text", "json")
	if err != nil {
		return err
	}
	return s.history(w, c, explainType(format), func(out io.Writer) error {
		return s.cfg.Backend.ExplainPod(c.Context(), sel, format, out)
	})
}

func (s *Server) freeze(w *response, c *call) error { return s.change(w, c, s.cfg.Backend.Freeze) }

func (s *Server) thaw(w *response, c *call) error { return s.change(w, c, s.cfg.Backend.Thaw) }

func (s *Server) change(w *response, c *call, change func(context.Context, *Selector) (int, error)) error {
	if err := c.decode(&struct{}{}); err != nil {
		return err
	}
	var sel *Selector
	if c.vars["pod"] != "" {
		one, err := c.selector()
		if err != nil {
			return err
		}
		sel = &one
	}
	n, err := change(c.Context(), sel)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, typeJSON, Changed{n})
}

func (s *Server) takeSnapshot(w *response, c *call) error {
	sel, err := c.selector()
	if err != nil {
		return err
	}
	var req SnapshotRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	made, err := s.cfg.Backend.Snapshot(c.Context(), sel, req.Reason)
	if err != nil {
		return err
	}
	if len(made) == 0 {
		return errors.New("no snapshot was made")
	}
	w.Header().Set("Location", "/v1/snapshots/"+url.PathEscape(made[0].ID))
	return writeJSON(w, http.StatusCreated, typeJSON, SnapshotsCreated{made[0], made})
}

func (s *Server) snapshots(w *response, c *call) error {
	all, err := s.cfg.Backend.Snapshots(c.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, typeJSON, List[Snapshot]{all})
}

func (s *Server) snapshot(w *response, c *call) error {
	snap, err := s.cfg.Backend.SnapshotByID(c.Context(), c.vars["id"])
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, typeJSON, snap)
}

func (s *Server) snapshotDump(w *response, c *call) error {
	q, err := c.dumpQuery()
	if err != nil {
		return err
	}
	return s.history(w, c, dumpType(q.Format), func(out io.Writer) error {
		return s.cfg.Backend.SnapshotDump(c.Context(), c.vars["id"], q, out)
	})
}

func (s *Server) explain(w *response, c *call) error {
	format, err := c.format("text", "json")
	if err != nil {
		return err
	}
	return s.history(w, c, explainType(format), func(out io.Writer) error {
		return s.cfg.Backend.Explain(c.Context(), c.vars["id"], format, out)
	})
}

func (s *Server) snapshotFile(w *response, c *call) error {
	f, snap, err := s.cfg.Backend.SnapshotFile(c.Context(), c.vars["id"])
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", snap.ID, err)
	}
	h := w.Header()
	h.Set("Content-Type", typeSnapshot)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": snap.ID + ".swoll"}))
	_, err = io.CopyN(w, f, size)
	return err
}

func (s *Server) deleteSnapshot(w *response, c *call) error {
	if err := s.cfg.Backend.DeleteSnapshot(c.Context(), c.vars["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) record(w *response, c *call) error {
	var req RecordingRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if req.Cgroup == "" {
		return Errorf(CodeBadRequest, "the request's body: cgroup is missing").
			WithHint(`{"cgroup":"/sys/fs/cgroup/…","name":"…"}`)
	}
	pod, err := s.cfg.Backend.Record(c.Context(), req.Cgroup, req.Name)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/pods/"+url.PathEscape(pod.Namespace)+"/"+url.PathEscape(pod.Name))
	return writeJSON(w, http.StatusCreated, typeJSON, pod)
}

func (s *Server) forget(w *response, c *call) error {
	if err := s.cfg.Backend.Forget(c.Context(), c.vars["name"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) version(w *response, c *call) error {
	return writeJSON(w, http.StatusOK, typeJSON, s.cfg.Backend.Version())
}

func (s *Server) openAPI(w *response, c *call) error {
	return write(w, "application/yaml", openAPI)
}

func (s *Server) healthz(w *response, c *call) error {
	return write(w, typeText, []byte("ok\n"))
}

func (s *Server) readyz(w *response, c *call) error {
	if err := s.cfg.Backend.Ready(); err != nil {
		return Errorf(CodeUnavailable, "not recording: %w", err)
	}
	return write(w, typeText, []byte("ok\n"))
}

func (s *Server) metrics(w *response, c *call) error {
	if s.cfg.Metrics == nil {
		return Errorf(CodeNotFound, "this service has no metrics")
	}
	s.cfg.Metrics.ServeHTTP(w, c.Request)
	return nil
}

// legacyList lists one container a line. The first column is what /close takes.
func (s *Server) legacyList(w *response, c *call) error {
	pods, err := s.cfg.Backend.Pods(c.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", typeText)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, p := range pods {
		id := p.Namespace + "/" + p.Name
		if p.Namespace == HostNamespace {
			id = p.Name
		}
		for idx, k := range p.Containers {
			fmt.Fprintf(t, "%q\t[%s]\tnamespace=%q\tpodname=%q\tidx=%d\tcontainer=%q\tcgroup=%q\n",
				id, k.State, p.Namespace, p.Name, idx, k.Name, k.Cgroup)
		}
	}
	return t.Flush()
}

func (s *Server) legacyDumpPod(w *response, c *call) error {
	namespace, err := c.required("namespace")
	if err != nil {
		return err
	}
	name, err := c.required("podname")
	if err != nil {
		return err
	}
	sel := Selector{Namespace: namespace, Pod: name}
	if c.query.Get("idx") != "" { // counts the containers of the pod, as listed
		idx, err := c.number("idx", 0)
		if err != nil {
			return err
		}
		pods, err := s.findPod(c, namespace, name)
		if err != nil {
			return err
		}
		if containers := pods[0].Containers; int(idx) < len(containers) {
			sel.Container, sel.Instance = containers[idx].Name, &containers[idx].Instance
		} else {
			return Errorf(CodeNotFound, "pod %s/%s has %d containers, counted from 0; there is no idx %d",
				namespace, name, len(containers), idx)
		}
	}
	return s.history(w, c, typeText, func(out io.Writer) error {
		return s.cfg.Backend.Dump(c.Context(), sel, DumpQuery{Format: "text"}, out)
	})
}

func (s *Server) legacyDumpCgroup(w *response, c *call) error {
	cgroup, err := c.required("cgroup")
	if err != nil {
		return err
	}
	return s.history(w, c, typeText, func(out io.Writer) error {
		return s.cfg.Backend.DumpCgroup(c.Context(), cgroup, DumpQuery{Format: "text"}, out)
	})
}

func (s *Server) legacyAdd(w *response, c *call) error {
	name, err := c.required("name")
	if err != nil {
		return err
	}
	cgroup, err := c.required("cgrouppath")
	if err != nil {
		return err
	}
	pod, err := s.cfg.Backend.Record(c.Context(), cgroup, name)
	if err != nil {
		return err
	}
	return write(w, typeText, fmt.Appendf(nil, "added %q\n", pod.Name))
}

func (s *Server) legacyClose(w *response, c *call) error {
	id, err := c.required("id")
	if err != nil {
		return err
	}
	if err := s.cfg.Backend.Forget(c.Context(), strings.TrimPrefix(id, HostNamespace+"/")); err != nil {
		return err
	}
	return write(w, typeText, fmt.Appendf(nil, "closed %q\n", id))
}

// history answers with what fill writes, one of a limited number at a time. An error
// before the first byte is answered as a problem.
func (s *Server) history(w *response, c *call, contentType string, fill func(io.Writer) error) error {
	if err := s.takeTurn(c.Context()); err != nil {
		return err
	}
	defer func() { <-s.histories }()
	w.Header().Set("Content-Type", contentType)
	out := bufio.NewWriterSize(w, 64<<10)
	if err := fill(out); err != nil {
		return err
	}
	return out.Flush()
}

// takeTurn waits until another history may be written.
func (s *Server) takeTurn(ctx context.Context) error {
	select {
	case s.histories <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(s.historyWait)
	defer timeout.Stop()
	select {
	case s.histories <- struct{}{}:
		return nil
	case <-timeout.C:
		return Errorf(CodeUnavailable, "%d dumps are being written already", cap(s.histories)).
			WithHint("again when one has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func dumpType(format string) string {
	switch format {
	case "json":
		return typeLines
	case "perfetto":
		return typeJSON
	}
	return typeText
}

func explainType(format string) string {
	if format == "json" {
		return typeJSON
	}
	return typeText
}

func writeJSON(w *response, status int, contentType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}

func write(w *response, contentType string, b []byte) error {
	w.Header().Set("Content-Type", contentType)
	_, err := w.Write(b)
	return err
}
