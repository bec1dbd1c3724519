// Package cluster finds the services of a cluster's nodes, and connects to them: through the
// API server, by running a proxy in the pods of swoll's DaemonSet, as kubectl exec would.
//
// It needs the rights of a user who may get and list pods, and create pods/exec in swoll's
// namespace. Its errors are *api.Error with what to try, or a *client.DialError where the
// cluster cannot be reached.
package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // what kubeconfig files may ask for
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/swoll-recorder/swoll/api"
	"github.com/swoll-recorder/swoll/client"
)

// What deploy/ calls things.
const (
	DefaultNamespace = "swoll-system"
	podSelector      = "app.kubernetes.io/name=swoll"
	containerName    = "swolld"
)

// maxAnswer is the longest answer of the API server that is read, bytes: a node's pod takes
// some 10 KiB of it.
const maxAnswer = 256 << 20

// Flags are kubectl's flags that say which cluster is meant, and whose rights are used.
type Flags struct {
	// SwollNamespace is where swoll's DaemonSet is; empty: DefaultNamespace.
	SwollNamespace string

	rules     *clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
}

// AddTo adds the flags to a command's.
func (f *Flags) AddTo(flags *pflag.FlagSet) {
	f.rules = clientcmd.NewDefaultClientConfigLoadingRules()
	flags.StringVar(&f.rules.ExplicitPath, "kubeconfig", "", "`file` that says how to reach the cluster; also $KUBECONFIG")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.CurrentContext.Description = "`name` of the kubeconfig context to use"
	names.ContextOverrideFlags.Namespace.Description = "`namespace` of a POD that is given by its name alone"
	clientcmd.BindOverrideFlags(&f.overrides, flags, names)
	shown := []string{names.CurrentContext.LongName, names.ContextOverrideFlags.Namespace.LongName, "kubeconfig"}
	flags.VisitAll(func(flag *pflag.Flag) {
		// The others are kubectl's, too, and seldom used.
		for _, i := range overrideNames(names) {
			if flag.Name == i && !slices.Contains(shown, i) {
				flag.Hidden = true
			}
		}
	})
}

func overrideNames(f clientcmd.ConfigOverrideFlags) []string {
	var names []string
	for _, i := range []clientcmd.FlagInfo{
		f.CurrentContext, f.Timeout,
		f.ContextOverrideFlags.ClusterName, f.ContextOverrideFlags.AuthInfoName, f.ContextOverrideFlags.Namespace,
		f.ClusterOverrideFlags.APIServer, f.ClusterOverrideFlags.CertificateAuthority, f.ClusterOverrideFlags.InsecureSkipTLSVerify,
		f.ClusterOverrideFlags.TLSServerName, f.ClusterOverrideFlags.ProxyURL, f.ClusterOverrideFlags.DisableCompression,
		f.AuthOverrideFlags.ClientCertificate, f.AuthOverrideFlags.ClientKey, f.AuthOverrideFlags.Token, f.AuthOverrideFlags.Impersonate,
		f.AuthOverrideFlags.ImpersonateUID, f.AuthOverrideFlags.ImpersonateGroups, f.AuthOverrideFlags.Username, f.AuthOverrideFlags.Password,
	} {
		names = append(names, i.LongName)
	}
	return names
}

// A Cluster is one whose nodes may run swoll. Make one with Flags.Connect.
type Cluster struct {
	// Namespace is what a pod's name without a namespace is in: the kubeconfig context's,
	// or what the flags say.
	Namespace string

	swoll  string // the namespace of the DaemonSet
	config *rest.Config
	http   *http.Client
	base   *url.URL
}

// Connect reads the kubeconfig files. It asks nobody yet.
func (f *Flags) Connect() (*Cluster, error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(f.rules, &f.overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, kubeconfigError(err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, kubeconfigError(err)
	}
	return New(config, namespace, f.SwollNamespace)
}

func kubeconfigError(err error) error {
	return api.Errorf(api.CodeBadRequest, "which cluster? %w", err).
		WithHint("kubectl config get-contexts, then --context, or --kubeconfig")
}

// New makes a Cluster. A pod that is named without a namespace is in namespace; swoll's
// DaemonSet is in swollNamespace, by default DefaultNamespace.
func New(config *rest.Config, namespace, swollNamespace string) (*Cluster, error) {
	c := &Cluster{Namespace: cmp.Or(namespace, "default"), swoll: cmp.Or(swollNamespace, DefaultNamespace)}
	c.config = rest.CopyConfig(config)
	c.config.UserAgent = "kubectl-swoll/" + api.BuildVersion().Version
	var err error
	if c.base, _, err = rest.DefaultServerUrlFor(c.config); err != nil {
		return nil, kubeconfigError(err)
	}
	if c.http, err = rest.HTTPClientFor(c.config); err != nil {
		return nil, kubeconfigError(err)
	}
	return c, nil
}

// A Node runs a service.
type Node struct {
	Name string
	pod  string // of swoll
}

// pod is what is needed of a Pod of Kubernetes.
type pod struct {
	Metadata struct {
		Name              string
		CreationTimestamp time.Time
		DeletionTimestamp *time.Time
	}
	Spec   struct{ NodeName string }
	Status struct{ Phase string }
}

// runs tells how fit a pod is to be asked, the larger the better; 0: not at all.
func (p *pod) runs() int {
	switch {
	case p.Spec.NodeName == "" || p.Status.Phase != "Running":
		return 0
	case p.Metadata.DeletionTimestamp != nil:
		return 1 // it is being replaced, but answers still
	}
	return 2
}

// Nodes lists the nodes with a pod of swoll that runs, by name. The others that have one are
// in down. It is an error if there is none of either.
func (c *Cluster) Nodes(ctx context.Context) (nodes []Node, down []string, err error) {
	var list struct{ Items []pod }
	if err := c.get(ctx, "/api/v1/namespaces/"+url.PathEscape(c.swoll)+"/pods?labelSelector="+url.QueryEscape(podSelector), &list); err != nil {
		return nil, nil, err
	}
	best := map[string]pod{}
	for _, p := range list.Items {
		name := p.Spec.NodeName
		if name == "" {
			continue // not scheduled
		}
		old, ok := best[name]
		if !ok || p.runs() > old.runs() || p.runs() == old.runs() && p.Metadata.CreationTimestamp.After(old.Metadata.CreationTimestamp) {
			best[name] = p
		}
	}
	if len(best) == 0 {
		return nil, nil, api.Errorf(api.CodeNotFound, "the cluster at %s has no pod %s on any node, in namespace %s", c.base.Host, podSelector, c.swoll).
			WithHint("kubectl apply -k deploy, or --swoll-namespace if it is in another one")
	}
	for name, p := range best {
		if p.runs() == 0 {
			down = append(down, name)
			continue
		}
		nodes = append(nodes, Node{Name: name, pod: p.Metadata.Name})
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(down)
	return nodes, down, nil
}

// NodeOf is the name of the node that a pod is on. It is api.ErrNotFound if there is no such
// pod (any more), or it is on no node yet.
func (c *Cluster) NodeOf(ctx context.Context, namespace, name string) (string, error) {
	var p pod
	if err := c.get(ctx, "/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(name), &p); err != nil {
		return "", err
	}
	if p.Spec.NodeName == "" {
		return "", api.Errorf(api.CodeNotFound, "pod %s/%s is on no node yet", namespace, name).
			WithHint("kubectl -n %s describe pod %s", namespace, name)
	}
	return p.Spec.NodeName, nil
}

// Dial connects to the service of a node. The connection is the caller's to close.
func (c *Cluster) Dial(ctx context.Context, n Node) (net.Conn, error) {
	u := c.base.JoinPath("/api/v1/namespaces", c.swoll, "pods", n.pod, "exec")
	u.RawQuery = url.Values{
		"container": {containerName},
		"command":   {"swoll-dump", "proxy"},
		"stdin":     {"true"}, "stdout": {"true"}, "stderr": {"true"},
	}.Encode()
	// An executor serves one stream.
	ws, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, u.String())
	if err != nil {
		return nil, c.dialError(n, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, u)
	if err != nil {
		return nil, c.dialError(n, err)
	}
	// As kubectl does: servers before 1.31, and proxies on the way, may not know WebSockets.
	exec, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, c.dialError(n, err)
	}
	conn, err := newConn(ctx, func(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
		return exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	})
	if err != nil {
		return nil, c.dialError(n, err)
	}
	return conn, nil
}

// dialError says what to try.
func (c *Cluster) dialError(n Node, err error) error {
	what := fmt.Errorf("cannot reach swolld on node %s, through pod %s/%s: %w", n.Name, c.swoll, n.pod, err)
	// Of a connection that was not upgraded, only the text of the answer is left.
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || strings.Contains(err.Error(), " is forbidden: ") {
		return api.Errorf(api.CodeDenied, "%w", what).
			WithHint("kubectl auth can-i create pods/exec -n %s; deploy/README.md has the rights that users need", c.swoll)
	}
	return api.Errorf(api.CodeUnavailable, "%w", what).WithHint("kubectl -n %s logs %s", c.swoll, n.pod)
}

// get asks the API server.
func (c *Cluster) get(ctx context.Context, path string, out any) error {
	ref, err := url.Parse(path)
	if err != nil {
		return err
	}
	u := c.base.JoinPath(ref.EscapedPath())
	u.RawQuery = ref.RawQuery
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return &client.DialError{Err: api.Errorf(api.CodeUnavailable, "cannot reach the cluster at %s: %w", c.base.Host, err).
			WithHint("kubectl cluster-info, or another --context")}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("GET %s of %s: %w", ref.Path, c.base.Host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return statusError(resp.StatusCode, body, ref.Path)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("GET %s of %s: %w", ref.Path, c.base.Host, err)
	}
	return nil
}

// statusError makes the error out of an answer that is none.
func statusError(code int, body []byte, path string) error {
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Message == "" {
		status.Message = "GET " + path + ": " + http.StatusText(code)
	}
	msg := strings.TrimSpace(status.Message)
	switch code {
	case http.StatusNotFound:
		return api.Errorf(api.CodeNotFound, "%s", msg)
	case http.StatusUnauthorized, http.StatusForbidden:
		return api.Errorf(api.CodeDenied, "the cluster refuses: %s", msg).
			WithHint("kubectl auth can-i list pods -A; deploy/README.md has the rights that users need")
	}
	return api.Errorf(api.CodeUnavailable, "the cluster answers with status %d: %s", code, msg)
}
