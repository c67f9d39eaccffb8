package build

// Program is one static binary, built from the module in parts/<Part>, whose
// go.sum pins it.
type Program struct {
	Name    string
	Part    string
	Package string
	Tags    string
	LDFlags string
}

const stampKubernetes = "-X k8s.io/component-base/version.gitMajor=1" +
	" -X k8s.io/component-base/version.gitMinor=36" +
	" -X k8s.io/component-base/version.gitVersion="

// kubernetesVersion is the version of k8s.io/kubernetes in its part's go.mod.
const kubernetesVersion = "v1.36.3"

func kubernetes(name string) Program {
	return Program{Name: name, Part: "kubernetes", Package: "k8s.io/kubernetes/cmd/" + name, LDFlags: stampKubernetes + kubernetesVersion}
}

func containerd(name string) Program {
	return Program{Name: name, Part: "containerd", Package: "github.com/containerd/containerd/v2/cmd/" + name,
		LDFlags: "-X github.com/containerd/containerd/v2/version.Version=v2.4.2"}
}

func knative(name string) Program {
	return Program{Name: "knative-" + name, Part: "knative", Package: "knative.dev/serving/cmd/" + name}
}

// Assets are what a test of a controller needs: an API server, its store and a
// client.
var Assets = []Program{
	kubernetes("kube-apiserver"),
	{Name: "etcd", Part: "etcd", Package: "go.etcd.io/etcd/server/v3"},
	kubernetes("kubectl"),
}

// Images are the programs that run in pods, each in an image of its own name.
var Images = []Program{
	{Name: "pause", Part: "pause", Package: "."},
	{Name: "coredns", Part: "coredns", Package: "."},
	knative("activator"),
	knative("autoscaler"),
	knative("controller"),
	knative("queue"),
	knative("webhook"),
	{Name: "nats-server", Part: "nats", Package: "github.com/nats-io/nats-server/v2"},
	{Name: "traefik", Part: "traefik", Package: "github.com/traefik/traefik/v3/cmd/traefik"},
}

// All are the programs of a whole cluster, in the order in which they are built:
// what most of the others wait for comes first.
var All = append(append(append([]Program{}, Assets...),
	kubernetes("kube-controller-manager"),
	kubernetes("kube-scheduler"),
	kubernetes("kubelet"),
	kubernetes("kube-proxy"),
	containerd("containerd"),
	containerd("containerd-shim-runc-v2"),
	containerd("ctr"),
	Program{Name: "registry", Part: "registry", Package: "github.com/distribution/distribution/v3/cmd/registry"},
), Images...)
