package node

// component is one process of the node.
type component struct {
	name   string // also the name of its program and of its log
	args   []string
	health string // answers 200 when well; without "://" a socket that accepts
	await  bool   // the components after it need it from their first moment
}

// components are the node's processes in the order in which they start.
func (n Node) components() []component {
	return []component{
		{name: "etcd", await: true, health: "http://" + Address + ":2381/health", args: []string{
			"--name=node",
			"--data-dir=" + n.in("etcd"),
			"--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=node=http://127.0.0.1:2380",
			"--listen-metrics-urls=http://" + Address + ":2381",
			"--unsafe-no-fsync", // it does not outlive this machine
			"--log-level=warn",
		}},
		{name: "containerd", await: true, health: containerdSocket, args: []string{"--config=" + n.in("config", "containerd.toml")}},
		{name: "registry", health: "http://" + Registry + "/v2/", args: []string{"serve", n.in("config", "registry.yaml")}},
		{name: "kube-apiserver", await: true, health: APIServer + "/readyz", args: n.apiServer()},
		{name: "kube-controller-manager", health: "https://" + Address + ":10257/healthz", args: []string{
			"--kubeconfig=" + n.in("config", "kube-controller-manager.kubeconfig"),
			"--bind-address=" + Address,
			"--cluster-cidr=" + podRange,
			"--service-cluster-ip-range=" + serviceRange,
			"--root-ca-file=" + n.in("pki", "ca.crt"),
			"--cluster-signing-cert-file=" + n.in("pki", "ca.crt"),
			"--cluster-signing-key-file=" + n.in("pki", "ca.key"),
			"--service-account-private-key-file=" + n.in("pki", "service-account.key"),
			"--use-service-account-credentials",
			"--leader-elect=false",
			"--kube-api-qps=100", "--kube-api-burst=200",
		}},
		{name: "kube-scheduler", health: "https://" + Address + ":10259/healthz", args: []string{
			"--kubeconfig=" + n.in("config", "kube-scheduler.kubeconfig"),
			"--bind-address=" + Address,
			"--leader-elect=false",
			"--kube-api-qps=100", "--kube-api-burst=200",
		}},
		{name: "kubelet", health: "http://" + Address + ":10248/healthz", args: []string{
			"--config=" + n.in("config", "kubelet.yaml"),
			"--kubeconfig=" + n.in("config", "kubelet.kubeconfig"),
			"--hostname-override=" + nodeName,
			"--node-ip=" + Address,
		}},
		{name: "kube-proxy", health: "http://" + Address + ":10256/livez", args: []string{
			"--config=" + n.in("config", "kube-proxy.yaml"),
			"--hostname-override=" + nodeName,
		}},
	}
}

func (n Node) apiServer() []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=" + Address,
		"--advertise-address=" + Address,
		"--service-cluster-ip-range=" + serviceRange,
		"--client-ca-file=" + n.in("pki", "ca.crt"),
		"--tls-cert-file=" + n.in("pki", "kube-apiserver.crt"),
		"--tls-private-key-file=" + n.in("pki", "kube-apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + n.in("pki", "service-account.crt"),
		"--service-account-signing-key-file=" + n.in("pki", "service-account.key"),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--kubelet-client-certificate=" + n.in("pki", "kube-apiserver.crt"),
		"--kubelet-client-key=" + n.in("pki", "kube-apiserver.key"),
		"--kubelet-certificate-authority=" + n.in("pki", "ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + n.in("pki", "front-proxy.crt"),
		"--proxy-client-key-file=" + n.in("pki", "front-proxy.key"),
		"--requestheader-client-ca-file=" + n.in("pki", "ca.crt"),
		// The one authority signs clients too: only the proxy may name another user.
		"--requestheader-allowed-names=front-proxy",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
	}
}

// logFile is where what a component prints goes.
func (n Node) logFile(name string) string { return n.in("logs", name+".log") }
