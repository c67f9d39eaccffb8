package names

import "strings"

// Key is where the value of a bucket's key is kept, as NATS clients keep it
// (ADR-8). key may be ">", which matches every key.
func Key(namespace, bucket, key string) string {
	return "$KV." + Bucket(namespace, bucket) + "." + key
}

// ParseKey reads a subject made by Key.
func ParseKey(subject string) (namespace, bucket, key string, ok bool) {
	rest, ok := strings.CutPrefix(subject, "$KV.")
	name, key, more := strings.Cut(rest, ".")
	namespace, bucket, named := strings.Cut(name, "_")
	return namespace, bucket, key, ok && more && named && key != ""
}
