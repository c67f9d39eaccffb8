package node

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"github.com/serviceful/serviceful/hack/cluster/internal/pki"
)

//go:embed config
var configs embed.FS

// writeConfig fills the state folder with what the components read: keys,
// kubeconfigs and the files of config.
func (n Node) writeConfig() error {
	for _, folder := range []string{"config", "logs/pods", "kubelet", "cni", "containerd", "etcd"} {
		if err := os.MkdirAll(n.in(folder), 0o700); err != nil {
			return err
		}
	}
	if err := n.writeKeys(); err != nil {
		return fmt.Errorf("making keys: %w", err)
	}
	files, err := template.ParseFS(configs, "config/*")
	if err != nil {
		return err
	}
	values := map[string]any{
		"State": n.State, "Images": n.Images, "Pause": n.Pause, "Socket": containerdSocket,
		"Address": Address, "Registry": Registry, "DNS": DNSAddress, "Pods": podRange, "CgroupRoot": n.podCgroup(),
		// Without CAP_SYS_RESOURCE nobody may lower the score by which the kernel picks victims.
		"RestrictOOMScore": !hasCapability(capSysResource),
	}
	for _, file := range files.Templates() {
		var text bytes.Buffer
		if err := file.Execute(&text, values); err != nil {
			return err
		}
		path := n.in("config", file.Name())
		if file.Name() == "hosts.toml" {
			path = n.in("config", "registries", Registry, "hosts.toml")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (n Node) writeKeys() error {
	authority, err := pki.NewAuthority(n.in("pki"))
	if err != nil {
		return err
	}
	masters := []string{"system:masters"}
	holders := []pki.Holder{
		{File: "kube-apiserver", User: "kube-apiserver", Groups: masters, IPs: []string{Address, kubernetesIP},
			Names: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{File: "kubelet", User: "system:node:" + nodeName, Groups: []string{"system:nodes"}, IPs: []string{Address}},
		{File: "front-proxy", User: "front-proxy"},
		{File: "service-account", User: "service-account"},
		{File: "kube-controller-manager", User: "system:kube-controller-manager"},
		{File: "kube-scheduler", User: "system:kube-scheduler"},
		{File: "kube-proxy", User: "system:kube-proxy"},
		{File: "admin", User: "admin", Groups: masters},
	}
	for _, h := range holders {
		if err := authority.Issue(h); err != nil {
			return err
		}
	}
	for _, name := range []string{"kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		if err := authority.Kubeconfig(n.in("config", name+".kubeconfig"), APIServer, name); err != nil {
			return err
		}
	}
	return authority.Kubeconfig(n.Kubeconfig(), APIServer, "admin")
}

// capSysResource is CAP_SYS_RESOURCE in linux/capability.h.
const capSysResource = 24

func hasCapability(bit uint) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	effective, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	return err == nil && effective&(1<<bit) != 0
}
