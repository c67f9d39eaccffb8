package names

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseObjects(t *testing.T) {
	if content, ok := ParseObjectChunks(ObjectChunks("coop", "files", "X1")); content != "X1" || !ok {
		t.Errorf("a content came back as %q, %v", content, ok)
	}
	for _, s := range []string{"", "$O.coop_files.M.YQ==", "$O.coop_files.C.a.b", "$KV.coop_files.C.a", "$O.coop_files.C"} {
		if content, ok := ParseObjectChunks(s); ok {
			t.Errorf("%q was taken for the content %q", s, content)
		}
	}
	for _, s := range []string{"", "$O.coop_files.C.YQ==", "$O.coop_files.M.YQ==.b", "$KV.coop_files.M.YQ==", "$O.coop_files.M", "$O.coop_files.M.", "$O.coop_files.M.%"} {
		if name, ok := ParseObjectInfo(s); ok {
			t.Errorf("%q was taken for the object %q", s, name)
		}
		if _, _, name, ok := ParseObject(s); ok {
			t.Errorf("%q was taken for the object %q", s, name)
		}
	}
}

// FuzzObject checks that a valid name gets a subject of its own, which is plain
// and within its store whatever the name is.
func FuzzObject(f *testing.F) {
	for _, s := range []string{"", "a", "a/b.csv", "../../x", "*", ">", "a b\r\n", "\x00", "\xff", "\u00e9", "a.b", strings.Repeat("n", MaxObject), strings.Repeat("n", MaxObject+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := ValidObject(name), name != "" && len(name) <= 1024 && utf8.ValidString(name); got != want {
			t.Fatalf("ValidObject(%q) = %v, want %v", name, got, want)
		}
		if !ValidObject(name) {
			return
		}
		s := ObjectInfo("coop", "files", name)
		if !plain(s) || len(s) > 2048 || !matches(ObjectInfoFilter("coop", "files"), s) || matches(ObjectChunks("coop", "files", ">"), s) {
			t.Errorf("the subject of %q is %q", name, s)
		}
		if back, ok := ParseObjectInfo(s); back != name || !ok {
			t.Errorf("%q came back as %q, %v", name, back, ok)
		}
		if namespace, store, back, ok := ParseObject(s); namespace != "coop" || store != "files" || back != name || !ok {
			t.Errorf("%q came back as %q, %q, %q, %v", name, namespace, store, back, ok)
		}
	})
}
