package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/klauspost/compress/gzhttp"
)

const (
	maxURI      = 8 << 10 // no request needs more
	maxBody     = 64 << 10
	bodyTimeout = 10 * time.Second // to send it
	// A reader must take what is written to it within stallTimeout each time, and all of it
	// within replyTimeout: histories wait in memory meanwhile.
	stallTimeout = 30 * time.Second
	replyTimeout = 10 * time.Minute
	// Histories that are decoded at the same time, and how long a request waits for its
	// turn. A ring takes some 1.2 times its size while it is read; of large ones, the backend
	// reads one at a time.
	defaultHistories = 8
	historyWait      = 5 * time.Second
	shutdownTimeout  = 5 * time.Second
)

// Config says what a Server serves, and to whom. Root may always do everything.
type Config struct {
	Backend Backend
	Metrics http.Handler // answers /metrics; nil: there are none
	Log     *slog.Logger // nil: slog.Default()
	// Group is the id of the group whose members may use the service as GroupPermit says:
	// the group of the socket. The zero GroupPermit leaves the service to root.
	Group       uint32
	GroupPermit Permission
	// MaxHistories limits the dumps and verdicts made at the same time; 0 is 8. More
	// wait a little, then fail as unavailable.
	MaxHistories int
}

// A Server answers requests. Make it with NewServer.
type Server struct {
	cfg         Config
	log         *slog.Logger
	router      *mux.Router
	routes      map[*mux.Route]*route
	compress    http.Handler
	histories   chan struct{} // holds one element per history being written
	historyWait time.Duration
}

// NewServer makes a Server.
func NewServer(cfg Config) *Server {
	s := &Server{
		cfg:         cfg,
		log:         cfg.Log,
		router:      mux.NewRouter().UseEncodedPath(),
		routes:      map[*mux.Route]*route{},
		histories:   make(chan struct{}, cmp.Or(cfg.MaxHistories, defaultHistories)),
		historyWait: historyWait,
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	for i := range routes {
		rt := &routes[i]
		s.routes[s.router.Path(rt.path).Methods(rt.method)] = rt
	}
	wrap, err := gzhttp.NewWrapper(
		gzhttp.EnableZstd(false),
		gzhttp.ContentTypeFilter(func(ct string) bool { return !strings.HasPrefix(ct, typeSnapshot) }),
	)
	if err != nil {
		panic(err) // the options above are wrong
	}
	s.compress = wrap(http.HandlerFunc(s.serve))
	return s
}

// Serve answers on ln, which it closes, until ctx is done; requests under way then have a
// few seconds to end. It returns nil when it ended because of ctx.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ConnContext:       connContext,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      stallTimeout,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(ln)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	srv.Close()
	return fmt.Errorf("serve %s: %w", ln.Addr(), err)
}

// ServeHTTP is the gate and what lies behind it. The connection must carry the peer's
// credentials, as those that Serve accepts do.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.compress.ServeHTTP(w, r)
}

// A call is a request that passed the gate.
type call struct {
	*http.Request
	vars  map[string]string // of the path, unescaped
	query url.Values
	body  []byte
}

func (s *Server) serve(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw, rc: http.NewResponseController(rw), end: time.Now().Add(replyTimeout)}
	w.Header().Set("Server", "swolld/"+BuildVersion().Version)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")

	rt, err := s.handle(w, r)
	if !w.wrote() {
		if err != nil {
			s.problem(w, err)
		} else {
			w.WriteHeader(http.StatusOK) // and nothing in it
		}
	}

	level, action := slog.LevelDebug, "request"
	if rt != nil && rt.audit != "" {
		level, action = slog.LevelInfo, rt.audit
	}
	attrs := []any{"method", r.Method, "path", short(r.URL.RequestURI()), "status", w.status, "bytes", w.bytes}
	if p := peerFrom(r.Context()); p != nil {
		attrs = append(attrs, "uid", p.UID, "pid", p.PID)
	}
	if err != nil {
		attrs = append(attrs, "err", err)
		switch {
		case r.Context().Err() != nil: // the peer left
		case errors.Is(err, ErrDenied):
			level = slog.LevelWarn
		case asError(err).Code == CodeInternal:
			level = slog.LevelError
		}
	}
	s.log.Log(context.WithoutCancel(r.Context()), level, action, attrs...)
	if err != nil && w.status < 400 {
		// The reply has begun: cut it off, so that nobody takes it for whole.
		panic(http.ErrAbortHandler)
	}
}

// handle is the gate: it lets a request reach its handler, or says why not. The route is
// nil where there is none.
func (s *Server) handle(w *response, r *http.Request) (rt *route, err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		s.log.Error("panic in a handler", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
		err = Errorf(CodeInternal, "%s %s failed inside the service", r.Method, short(r.URL.Path)).
			WithHint("the service's log says more; please report it")
	}()

	if err := s.checkPeer(r, PermitRead); err != nil {
		return nil, err
	}
	if err := checkBrowser(r); err != nil {
		return nil, err
	}
	if n := len(r.URL.RequestURI()); n > maxURI {
		return nil, Errorf(CodeBadRequest, "the URL has %d bytes, which is more than %d", n, maxURI)
	}
	var match mux.RouteMatch
	if !s.router.Match(r, &match) {
		if errors.Is(match.MatchErr, mux.ErrMethodMismatch) {
			allowed := s.methods(r)
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return nil, Errorf(CodeNotAllowed, "%s is not a method of %s", short(r.Method), short(r.URL.Path)).
				WithHint("use %s", strings.Join(allowed, " or "))
		}
		return nil, Errorf(CodeNotFound, "there is nothing at %s", short(r.URL.Path)).
			WithHint("GET /v1/openapi.yaml, which describes what there is")
	}
	rt = s.routes[match.Route]
	if err := s.checkPeer(r, rt.permit); err != nil {
		return rt, err
	}
	c := &call{Request: r, vars: match.Vars}
	for k, v := range c.vars {
		if c.vars[k], err = url.PathUnescape(v); err != nil {
			return rt, Errorf(CodeBadRequest, "path: %w", err)
		}
	}
	if c.query, err = parseQuery(r.URL.RawQuery, rt.query); err != nil {
		return rt, err
	}
	if c.body, err = readBody(w, r); err != nil {
		return rt, err
	}
	return rt, rt.handler(s, w, c)
}

// checkPeer refuses peers that have less than the permission.
func (s *Server) checkPeer(r *http.Request, need Permission) error {
	p := peerFrom(r.Context())
	if p == nil {
		return Errorf(CodeDenied, "the connection does not tell who asks").
			WithHint("connect to the service's Unix domain socket")
	}
	has := PermitNone
	switch {
	case p.UID == 0:
		has = PermitWrite
	case p.in(s.cfg.Group):
		has = s.cfg.GroupPermit
	}
	if has >= need {
		return nil
	}
	if has == PermitRead {
		return Errorf(CodeDenied, "uid %d may read, but not change anything", p.UID).
			WithHint("ask as root")
	}
	return Errorf(CodeDenied, "uid %d may not use the service", p.UID).
		WithHint("ask as root, or as a member of the socket's group where that is permitted")
}

// checkBrowser refuses what a web page could have made a browser send, through something
// that forwards TCP to the socket: browsers name the page's origin or the site's host.
func checkBrowser(r *http.Request) error {
	for _, h := range []string{"Origin", "Sec-Fetch-Site"} {
		if v := r.Header.Get(h); v != "" {
			return Errorf(CodeDenied, "requests with the header %s (%q) are refused: web pages have no business here", h, short(v))
		}
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !slices.Contains([]string{"swoll", "localhost", "unix"}, host) {
		return Errorf(CodeDenied, "the host %q is not this service", short(r.Host)).
			WithHint("http://swoll/… as the URL")
	}
	return nil
}

// methods are those that r's path has.
func (s *Server) methods(r *http.Request) []string {
	var allowed []string
	other := *r
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other.Method = m
		if s.router.Match(&other, &mux.RouteMatch{}) {
			allowed = append(allowed, m)
		}
	}
	return allowed
}

// readBody reads the body of any request whatever its handler makes of it, so that none
// waits unread on the connection.
func readBody(w *response, r *http.Request) ([]byte, error) {
	tooLarge := func() error {
		w.Header().Set("Connection", "close")
		return Errorf(CodeBadRequest, "the request's body is larger than %d bytes", maxBody)
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	if r.ContentLength == 0 {
		return nil, nil
	}
	if err := w.rc.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		w.Header().Set("Connection", "close")
		return nil, Errorf(CodeBadRequest, "the request's body: %w", err)
	}
	if len(body) > maxBody {
		return nil, tooLarge()
	}
	return body, w.rc.SetReadDeadline(time.Time{})
}

// short cuts what a peer sent and is to be repeated.
func short(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func (s *Server) problem(w *response, err error) {
	e := asError(err)
	w.Header().Del("Content-Disposition")
	w.Header().Del("Content-Length")
	if e.Code == CodeUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, e.Status, "application/problem+json", e)
}

// A response notes what was answered, and gives up on peers that do not read.
type response struct {
	http.ResponseWriter
	rc     *http.ResponseController
	end    time.Time
	status int
	bytes  int64
}

func (w *response) wrote() bool { return w.status != 0 }

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	deadline := time.Now().Add(stallTimeout)
	if deadline.After(w.end) {
		deadline = w.end
	}
	if err := w.rc.SetWriteDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
