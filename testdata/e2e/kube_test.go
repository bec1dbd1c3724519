package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The tests talk to the API server by plain HTTP: what they ask for is little, and what
// they get is what it sends.

func newAPIClient(pool *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true},
	}
}

// errNotFound is what a request for an object that there is not wraps.
var errNotFound = errors.New("not found")

// do makes a request of the API server as its admin; body is YAML or JSON, and out, if not
// nil, is filled from the answer.
func (c *cluster) do(method, path, contentType, body string, out any) error {
	req, err := http.NewRequest(method, apiServer+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%s %s: %w", method, path, errNotFound)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: status %d: %s", method, path, resp.StatusCode, data)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

func (c *cluster) get(path string, out any) error { return c.do("GET", path, "", "", out) }

// A pod is what the tests read of one.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Labels, Annotations  map[string]string
		DeletionTimestamp    *string
	}
	Status struct {
		Phase, Reason, Message     string
		Conditions                 []condition
		InitContainerStatuses      []containerStatus
		ContainerStatuses          []containerStatus
		EphemeralContainerStatuses []containerStatus
	}
}

type containerStatus struct {
	Name, ContainerID string
	RestartCount      int
	State, LastState  struct {
		Waiting    *struct{ Reason, Message string }
		Running    *struct{ StartedAt string }
		Terminated *struct {
			ExitCode            int
			Reason, ContainerID string
		}
	}
}

// status finds the status of a container of any kind; nil if there is none yet.
func (p *pod) status(container string) *containerStatus {
	for _, list := range [][]containerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == container {
				return &list[i]
			}
		}
	}
	return nil
}

// id is the container's id as the runtime has it; empty while there is none.
func (s *containerStatus) id() string {
	if s == nil {
		return ""
	}
	_, id, _ := strings.Cut(s.ContainerID, "://")
	return id
}

func (p *pod) String() string {
	data, _ := json.Marshal(p.Status)
	return p.Metadata.Namespace + "/" + p.Metadata.Name + " " + string(data)
}

// namespace makes a namespace that pods can be made in, and removes it after the test. Its
// name begins with the one given.
func namespace(t testing.TB, name string) string {
	t.Helper()
	var made struct{ Metadata struct{ Name string } }
	if err := the.do("POST", "/api/v1/namespaces", "application/yaml", "{metadata: {generateName: "+name+"-}}", &made); err != nil {
		t.Fatal(err)
	}
	name = made.Metadata.Name
	t.Cleanup(func() {
		deletePods(t, name)
		if err := the.do("DELETE", "/api/v1/namespaces/"+name, "", "", nil); err != nil {
			t.Error(err)
		}
	})
	// Without it, no pod is admitted.
	eventually(t, "service account of namespace "+name, func() error {
		return the.get("/api/v1/namespaces/"+name+"/serviceaccounts/default", nil)
	})
	return name
}

// deletePods ends all pods of a namespace at once, and returns when they are gone.
func deletePods(t testing.TB, namespace string) {
	t.Helper()
	path := "/api/v1/namespaces/" + namespace + "/pods"
	if err := the.do("DELETE", path+"?gracePeriodSeconds=0", "", "", nil); err != nil {
		t.Error(err)
	}
	eventually(t, "end of the pods in "+namespace, func() error {
		var list struct{ Items []pod }
		if err := the.get(path, &list); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			return fmt.Errorf("%d are left, the first is %v", len(list.Items), &list.Items[0])
		}
		return nil
	})
}

// createPod makes a pod from its metadata without the namespace, and its spec, both in
// YAML's flow style or as JSON.
func createPod(t testing.TB, namespace, metadata, spec string) *pod {
	t.Helper()
	p := &pod{}
	body := "{metadata: " + metadata + ", spec: " + spec + "}"
	if err := the.do("POST", "/api/v1/namespaces/"+namespace+"/pods", "application/yaml", body, p); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return p
}

func getPod(t testing.TB, namespace, name string) *pod {
	t.Helper()
	p := &pod{}
	if err := the.get("/api/v1/namespaces/"+namespace+"/pods/"+name, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// waitPod waits until a pod is as f wants it; f's error tells what is missing.
func waitPod(t testing.TB, namespace, name, what string, f func(*pod) error) *pod {
	t.Helper()
	p := &pod{}
	eventually(t, "pod "+namespace+"/"+name+": "+what, func() error {
		*p = pod{}
		if err := the.get("/api/v1/namespaces/"+namespace+"/pods/"+name, p); err != nil {
			return err
		}
		if err := f(p); err != nil {
			return fmt.Errorf("%w: %v", err, p)
		}
		return nil
	})
	return p
}

// waitRunning waits until some containers of a pod run; none named: all of its own.
func waitRunning(t testing.TB, namespace, name string, containers ...string) *pod {
	t.Helper()
	return waitPod(t, namespace, name, "running", func(p *pod) error {
		names := containers
		if len(names) == 0 {
			if p.Status.Phase != "Running" {
				return errors.New("not running yet")
			}
			for _, s := range p.Status.ContainerStatuses {
				names = append(names, s.Name)
			}
		}
		for _, c := range names {
			if s := p.status(c); s == nil || s.State.Running == nil {
				return errors.New(c + " does not run")
			}
		}
		return nil
	})
}

// deletePod ends a pod at once; it may be there for a while yet.
func deletePod(t testing.TB, namespace, name string) {
	t.Helper()
	if err := the.do("DELETE", "/api/v1/namespaces/"+namespace+"/pods/"+name+"?gracePeriodSeconds=0", "", "", nil); err != nil {
		t.Fatal(err)
	}
}

type result struct {
	code           int
	stdout, stderr string
}

// run runs a program that must end by itself.
func run(t testing.TB, argv ...string) result {
	t.Helper()
	return runWith(t, nil, argv...)
}

func runWith(t testing.TB, env []string, argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q did not end:\n%s%s", argv, out.String(), errs.String())
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// kubectl runs kubectl as the cluster's admin, and expects it to succeed.
func kubectl(t testing.TB, args ...string) string {
	t.Helper()
	r := tryKubectl(t, args...)
	if r.code != 0 {
		t.Fatalf("kubectl %q: exit status %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func tryKubectl(t testing.TB, args ...string) result {
	t.Helper()
	// Plugins are looked for in PATH.
	env := []string{"KUBECONFIG=" + in("admin.kubeconfig"), "PATH=" + built + ":" + os.Getenv("PATH"), "HOME=" + clusterDir}
	return runWith(t, env, append([]string{built + "/kubectl"}, args...)...)
}
