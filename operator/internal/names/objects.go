package names

import (
	"encoding/base64"
	"strings"
)

// The subjects of an object store are those of NATS clients (ADR-20). A name is
// base64 in them, so that it can hold anything and never is more than one token.

// ObjectSubjects are all subjects of the stream StoreStream(namespace, store).
func ObjectSubjects(namespace, store string) []string {
	return []string{ObjectChunks(namespace, store, ">"), objectInfo(namespace, store, ">")}
}

// ObjectChunks is where the pieces of one content are kept, in their order.
func ObjectChunks(namespace, store, content string) string {
	return "$O." + Store(namespace, store) + ".C." + content
}

// ParseObjectChunks reads which content a subject made by ObjectChunks is of.
func ParseObjectChunks(subject string) (content string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != "$O" || t[2] != "C" {
		return "", false
	}
	return t[3], true
}

// ObjectInfo is where it is kept what an object is: its last message counts.
func ObjectInfo(namespace, store, name string) string {
	return objectInfo(namespace, store, base64.URLEncoding.EncodeToString([]byte(name)))
}

// ObjectInfoFilter matches ObjectInfo for every name.
func ObjectInfoFilter(namespace, store string) string { return objectInfo(namespace, store, "*") }

// ParseObjectInfo reads the name of an object from a subject made by ObjectInfo.
func ParseObjectInfo(subject string) (name string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != "$O" || t[2] != "M" {
		return "", false
	}
	b, err := base64.URLEncoding.DecodeString(t[3])
	return string(b), err == nil && len(b) > 0
}

// ParseObject is ParseObjectInfo with the store that the object is in.
func ParseObject(subject string) (namespace, store, name string, ok bool) {
	name, ok = ParseObjectInfo(subject)
	namespace, store, named := strings.Cut(strings.Split(subject+".", ".")[1], "_")
	return namespace, store, name, ok && named
}

func objectInfo(namespace, store, token string) string {
	return "$O." + Store(namespace, store) + ".M." + token
}
