package names

import (
	"strings"
	"unicode/utf8"
)

// MaxEventType is the longest event type, in characters, so that its subject
// stays well inside the server's limit for one protocol line (4096 bytes).
const MaxEventType = 200

// ValidEventType reports whether t is dot-separated tokens of [A-Za-z0-9_-], at
// most MaxEventType characters: what can be a NATS subject as it is.
func ValidEventType(t string) bool {
	if t == "" || len(t) > MaxEventType {
		return false
	}
	start := true // at the start of a token
	for i := range len(t) {
		switch c := t[i]; {
		case c == '.':
			if start {
				return false
			}
			start = true
		case wordByte(c):
			start = false
		default:
			return false
		}
	}
	return !start
}

// ValidEventPattern reports whether p is an event type, or one whose last token
// is "*".
func ValidEventPattern(p string) bool {
	if p == "*" {
		return true
	}
	if prefix, ok := strings.CutSuffix(p, ".*"); ok {
		return len(p) <= MaxEventType && ValidEventType(prefix)
	}
	return ValidEventType(p)
}

// MatchEventType reports whether an event type is covered by a pattern: it is
// equal, or the pattern's last token "*" stands for one or more of its tokens.
func MatchEventType(pattern, eventType string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if !wild {
		return pattern == eventType
	}
	return len(eventType) > len(prefix) && strings.HasPrefix(eventType, prefix)
}

// CoversEventPattern reports whether every type that matches q matches p too.
func CoversEventPattern(p, q string) bool {
	prefix, wild := strings.CutSuffix(p, "*")
	if !wild {
		return p == q
	}
	return p == q || len(q) > len(prefix) && strings.HasPrefix(q, prefix)
}

// MaxKey is the longest key, in characters.
const MaxKey = 512

// KeyRule is ValidKey in words, for messages.
const KeyRule = "a key is 1 to 512 characters of A-Z a-z 0-9 - / _ = . and neither begins nor ends with a dot nor has two in a row"

// ValidKey reports whether k can be a key of a bucket: the characters that NATS
// allows in one (nats.go, jetstream/kv.go), at most MaxKey of them.
func ValidKey(k string) bool {
	if k == "" || len(k) > MaxKey || k[0] == '.' || k[len(k)-1] == '.' || strings.Contains(k, "..") {
		return false
	}
	for i := range len(k) {
		if c := k[i]; !wordByte(c) && c != '.' && c != '/' && c != '=' {
			return false
		}
	}
	return true
}

// MaxObject is the longest name of an object, in bytes: in base64 its subject
// stays well inside the server's limit for one protocol line (4096 bytes).
const MaxObject = 1024

// ObjectRule is ValidObject in words, for messages.
const ObjectRule = "an object's name is 1 to 1024 bytes of UTF-8"

// ValidObject reports whether name can be an object's.
func ValidObject(name string) bool {
	return name != "" && len(name) <= MaxObject && utf8.ValidString(name)
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
