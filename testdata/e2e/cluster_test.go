package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The cluster's addresses, in a network namespace of its own. The service address of the
// API server is one of the node's own: so pods reach it without kube-proxy.
const (
	nodeName    = "node1"
	nodeAddress = "10.200.0.1"
	apiAddress  = "10.96.0.1"
	apiServer   = "https://" + apiAddress + ":443"
	serviceNet  = "10.96.0.0/24"
	podNet      = "10.201.0.0/16"
)

// clusterDir has everything of the cluster. It is on the tmpfs over /run, which nobody
// sees outside of the namespaces, and which is gone with them.
const clusterDir = "/run/e2e"

// Where things lie that have well-known places on a node.
const criSocket = "/run/containerd/containerd.sock"

// staticPods is where the kubelet finds pods by itself, without the API server.
var staticPods = in("static-pods")

// in returns a path in clusterDir.
func in(elem ...string) string { return filepath.Join(append([]string{clusterDir}, elem...)...) }

// A cluster is a Kubernetes of one node.
type cluster struct {
	program string // see testdata/cluster
	client  *http.Client
	daemons map[string]*daemon
}

// the is the cluster that all tests use.
var the *cluster

// built is the directory of the programs under test, and of those that run in containers.
var built = in("bin")

// inside runs the tests, in the namespaces.
func inside(m *testing.M, program string) int {
	code := 1
	err := func() error {
		if err := prepareNode(); err != nil {
			return err
		}
		if err := buildPrograms(); err != nil {
			return err
		}
		the = &cluster{program: program, daemons: map[string]*daemon{}}
		defer the.down()
		if err := the.up(); err != nil {
			return err
		}
		code = m.Run()
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	if code != 0 {
		// Outside of the namespaces nobody sees the cluster's directory.
		kept, err := os.MkdirTemp("", "swoll-e2e-logs-")
		if err == nil {
			err = os.CopyFS(kept, os.DirFS(in("log")))
		}
		fmt.Fprintf(os.Stderr, "e2e: the cluster's logs are in %s (%v)\n", kept, err)
	}
	return code
}

// ---- the node

// prepareNode makes this process's namespaces look like a fresh node.
func prepareNode() error {
	// As on a node, mounts propagate between the namespaces of its containers.
	for _, flag := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|flag, ""); err != nil {
			return fmt.Errorf("setting the propagation of mounts: %w", err)
		}
	}
	mount := func(fstype, dir string, data string) error {
		if err := unix.Mount(fstype, dir, fstype, 0, data); err != nil {
			return fmt.Errorf("mounting %s at %s: %w", fstype, dir, err)
		}
		return nil
	}
	if err := mount("tmpfs", "/run", "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{in("var/upper"), in("var/work"), in("log"), in("bin"), in("sysctl"), in("cni"), staticPods} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// Programs of Kubernetes have paths below /var that no flag changes.
	if err := mount("overlay", "/var", "lowerdir=/var,upperdir="+in("var/upper")+",workdir="+in("var/work")); err != nil {
		return err
	}
	if err := mount("bpf", "/sys/fs/bpf", ""); err != nil {
		return err
	}
	// The kubelet would set these, and they are the machine's.
	for name, value := range map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"} {
		file := in("sysctl", filepath.Base(name))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting over /proc/sys/%s: %w", name, err)
		}
	}
	for _, args := range []string{
		"link set lo up",
		"link add node type veth peer name world", // a dummy device would do, but not every kernel has it
		"addr add " + nodeAddress + "/24 dev node",
		"link set node up",
		"link set world up",
		"route add default via 10.200.0.254 dev node",
		"addr add " + apiAddress + "/32 dev lo",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", args, err, out)
		}
	}
	return nil
}

// ---- daemons

// A daemon is a program of the cluster that runs.
type daemon struct {
	name string
	argv []string
	env  []string
	cmd  *exec.Cmd
	gone chan struct{}
}

// starters runs functions on one thread that lives as long as this process: what it starts
// is told by the kernel when that thread is gone.
var starters = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

// startChild is cmd.Start; the child dies with this process.
func startChild(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := make(chan error)
	starters() <- func() { err <- cmd.Start() }
	return <-err
}

// start starts the daemon; what it prints is appended to its log.
func (d *daemon) start() error {
	log, err := os.OpenFile(in("log", d.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd = exec.Command(d.argv[0], d.argv[1:]...)
	d.cmd.Dir, d.cmd.Env = clusterDir, append(os.Environ(), d.env...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := startChild(d.cmd); err != nil {
		return fmt.Errorf("starting %s: %w", d.name, err)
	}
	gone, cmd := make(chan struct{}), d.cmd
	d.gone = gone
	go func() {
		cmd.Wait()
		close(gone)
	}()
	return nil
}

// run starts a daemon of the cluster; argv[0] is the name of a program of testdata/cluster,
// or a path.
func (c *cluster) run(argv ...string) error {
	d := &daemon{name: filepath.Base(argv[0]), argv: argv}
	if !filepath.IsAbs(argv[0]) {
		d.argv[0] = filepath.Join(built, argv[0])
	}
	c.daemons[d.name] = d
	return d.start()
}

// up brings the cluster up, and returns when its node is ready.
func (c *cluster) up() error {
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"} {
		if err := os.Symlink(c.program, filepath.Join(built, name)); err != nil {
			return err
		}
	}
	pool, err := c.secrets()
	if err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	c.client = newAPIClient(pool)
	if err := c.config(); err != nil {
		return err
	}
	if err := c.run("etcd", "--data-dir="+in("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380"); err != nil {
		return err
	}
	if err := c.startContainerd(); err != nil {
		return err
	}
	if err := c.run("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", "--secure-port=443",
		"--advertise-address="+nodeAddress, "--endpoint-reconciler-type=none", "--service-cluster-ip-range="+serviceNet,
		"--tls-cert-file="+in("server.crt"), "--tls-private-key-file="+in("server.key"), "--client-ca-file="+in("ca.crt"),
		"--authorization-mode=Node,RBAC", "--allow-privileged=true", "--token-auth-file="+in("tokens.csv"),
		"--service-account-issuer="+apiServer, "--service-account-signing-key-file="+in("server.key"),
		"--service-account-key-file="+in("server.key"), "--kubelet-preferred-address-types=InternalIP",
		"--max-requests-inflight=0", "--max-mutating-requests-inflight=0", "--enable-priority-and-fairness=false"); err != nil {
		return err
	}
	if err := c.run("kubelet", "--config="+in("kubelet.yaml"), "--kubeconfig="+in("node.kubeconfig"), "--root-dir="+in("kubelet"),
		"--hostname-override="+nodeName, "--node-ip="+nodeAddress, "--cert-dir="+in("kubelet-pki")); err != nil {
		return err
	}
	if err := c.run("kube-controller-manager", "--kubeconfig="+in("admin.kubeconfig"), "--leader-elect=false",
		"--service-account-private-key-file="+in("server.key"), "--root-ca-file="+in("ca.crt"), "--kube-api-qps=200", "--kube-api-burst=400"); err != nil {
		return err
	}
	if err := c.run("kube-scheduler", "--kubeconfig="+in("admin.kubeconfig"), "--leader-elect=false"); err != nil {
		return err
	}
	return c.waitReady()
}

// startContainerd starts the runtime, gives it the images, and returns when it has them.
func (c *cluster) startContainerd() error {
	path, err := exec.LookPath("containerd")
	if err != nil {
		return err
	}
	if err := c.run(path, "--config", in("containerd.toml")); err != nil {
		return err
	}
	archive := in("images.tar")
	if err := writeImages(archive); err != nil {
		return err
	}
	return within(patience, func() error {
		if out, err := exec.Command("ctr", "--address", criSocket, "--namespace", "k8s.io", "images", "import", archive).CombinedOutput(); err != nil {
			return fmt.Errorf("importing images: %w: %s", err, out)
		}
		return nil
	})
}

// waitReady returns once the node can take pods.
func (c *cluster) waitReady() error {
	return within(patience, func() error {
		for name, d := range c.daemons {
			select {
			case <-d.gone:
				return errors.New(name + " ended: " + tail(in("log", name), 2000))
			default:
			}
		}
		var node struct {
			Spec   struct{ Taints []struct{ Key string } }
			Status struct{ Conditions []condition }
		}
		if err := c.get("/api/v1/nodes/"+nodeName, &node); err != nil {
			return err
		}
		for _, cond := range node.Status.Conditions {
			if cond.Type == "Ready" && cond.Status == "True" && len(node.Spec.Taints) == 0 {
				return nil
			}
		}
		return fmt.Errorf("the node is not ready: %+v", node)
	})
}

// down ends the cluster: what ran in it goes with it.
func (c *cluster) down() {
	// The kubelet first: it would start again what ends.
	for _, name := range []string{"kubelet", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd", "containerd"} {
		if d := c.daemons[name]; d != nil && d.cmd != nil {
			d.cmd.Process.Kill()
			<-d.gone
		}
	}
}

type condition struct{ Type, Status, Reason, Message string }

// ---- configuration

// Tokens are not secret here: nobody else reaches the cluster's network.
const (
	adminToken = "the-admin"
	nodeToken  = "the-node"
)

func (c *cluster) config() error {
	kubeconfig := func(token string) string {
		return `apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "` + apiServer + `", certificate-authority: ` + in("ca.crt") + `}}]
users: [{name: e2e, user: {token: ` + token + `}}]
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
current-context: e2e
`
	}
	for name, text := range map[string]string{
		"tokens.csv":       adminToken + ",admin,1,system:masters\n" + nodeToken + ",system:node:" + nodeName + ",2,system:nodes\n",
		"admin.kubeconfig": kubeconfig(adminToken),
		"node.kubeconfig":  kubeconfig(nodeToken),
		"containerd.toml": `version = 2
root = "` + in("containerd") + `"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "` + criSocket + `"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + image("pause") + `"
  # Not every machine lets root lower it.
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "` + in("cni") + `"
`,
		"cni/10-e2e.conflist": `{"cniVersion": "0.4.0", "name": "e2e", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "` + in("cni-leases") + `",
    "ranges": [[{"subnet": "` + podNet + `"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`,
		"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://` + criSocket + `
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
makeIPTablesUtilChains: false
resolvConf: ""
readOnlyPort: 0
maxPods: 250
kubeAPIQPS: 200
kubeAPIBurst: 400
eventRecordQPS: 0
registryPullQPS: 0
staticPodPath: ` + staticPods + `
fileCheckFrequency: 1s
syncFrequency: 1s
nodeStatusUpdateFrequency: 1s
crashLoopBackOff: {maxContainerRestartPeriod: 2s}
evictionHard: {memory.available: "1Mi", nodefs.available: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
featureGates: {KubeletCrashLoopBackOffMax: true}
logging: {flushFrequency: 1}
`,
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// secrets makes a certificate authority, and a certificate of the API server by it; its
// key signs the tokens of service accounts, too.
func (c *cluster) secrets() (*x509.CertPool, error) {
	sign := func(cert, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		if signer == nil {
			parent, signer = cert, key
		}
		cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
		if err != nil {
			return nil, nil, err
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, nil, err
		}
		name := cert.Subject.CommonName
		if err := os.WriteFile(in(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
			return nil, nil, err
		}
		if err := os.WriteFile(in(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
			return nil, nil, err
		}
		made, err := x509.ParseCertificate(der)
		return made, key, err
	}
	ca, caKey, err := sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	if err != nil {
		return nil, err
	}
	if _, _, err := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"},
		IPAddresses: []net.IP{net.ParseIP(apiAddress), net.ParseIP(nodeAddress), net.IPv4(127, 0, 0, 1)},
	}, ca, caKey); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, nil
}

// tail is the end of a file.
func tail(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-n):])
}
