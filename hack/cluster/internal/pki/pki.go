// Package pki makes the keys and certificates of a cluster, and the kubeconfigs
// that use them. All are made anew for every cluster. It runs nothing and
// imports nothing of this module.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is that of every certificate: longer than any cluster lives.
const lifetime = 365 * 24 * time.Hour

// Authority signs certificates and writes them, with their keys, to one folder.
type Authority struct {
	folder string
	cert   *x509.Certificate
	key    crypto.Signer
}

// Holder is who a certificate is made out to.
type Holder struct {
	File   string   // the certificate is <File>.crt, its key <File>.key
	User   string   // the name that Kubernetes knows the holder by
	Groups []string // the groups that Kubernetes counts it in
	Names  []string // DNS names that it serves under
	IPs    []string // addresses that it serves under
}

// NewAuthority makes a certificate authority and writes it as ca.crt and ca.key.
func NewAuthority(folder string) (*Authority, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newCertificate(pkix.Name{CommonName: "serviceful-cluster"})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	a := &Authority{folder: folder, cert: template, key: key}
	if err := a.write("ca", template, key); err != nil {
		return nil, fmt.Errorf("writing the certificate authority: %w", err)
	}
	return a, nil
}

// Issue writes a certificate that both serves and authenticates its holder.
func (a *Authority) Issue(h Holder) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := newCertificate(pkix.Name{CommonName: h.User, Organization: h.Groups})
	if err != nil {
		return err
	}
	cert.KeyUsage = x509.KeyUsageDigitalSignature
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	cert.DNSNames = h.Names
	for _, ip := range h.IPs {
		cert.IPAddresses = append(cert.IPAddresses, net.ParseIP(ip))
	}
	if err := a.write(h.File, cert, key); err != nil {
		return fmt.Errorf("writing the certificate of %s: %w", h.User, err)
	}
	return nil
}

func newCertificate(name pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	start := time.Now().Add(-time.Hour) // clocks differ
	return &x509.Certificate{SerialNumber: serial, Subject: name, NotBefore: start, NotAfter: start.Add(lifetime)}, nil
}

func (a *Authority) write(file string, cert *x509.Certificate, key crypto.Signer) error {
	signed, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	path := filepath.Join(a.folder, file)
	if err := os.WriteFile(path+".crt", pemOf("CERTIFICATE", signed), 0o600); err != nil {
		return err
	}
	return os.WriteFile(path+".key", pemOf("PRIVATE KEY", secret), 0o600)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Kubeconfig writes to path how the holder of a certificate reaches the API
// server. Everything is inside, so the file may be copied.
func (a *Authority) Kubeconfig(path, server, file string) error {
	encoded := make([]string, 3)
	for i, name := range []string{"ca.crt", file + ".crt", file + ".key"} {
		content, err := os.ReadFile(filepath.Join(a.folder, name))
		if err != nil {
			return err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(content)
	}
	return os.WriteFile(path, fmt.Appendf(nil, kubeconfig, server, encoded[0], encoded[1], encoded[2]), 0o600)
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: serviceful
contexts:
- name: serviceful
  context: {cluster: serviceful, user: serviceful}
clusters:
- name: serviceful
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: serviceful
  user:
    client-certificate-data: %s
    client-key-data: %s
`
