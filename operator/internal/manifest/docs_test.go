package manifest

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestDocumented has the manifest in docs/functions.md be a valid one that has every
// field of a trigger, a binding and a delivery.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "\n## The manifest\n")
	_, after, _ = strings.Cut(after, "```yaml\n")
	manifest, _, found := strings.Cut(after, "```\n")
	if !found {
		t.Fatal("docs/functions.md has no manifest")
	}
	for _, of := range []any{v1alpha1.Trigger{}, v1alpha1.Binding{}, v1alpha1.Delivery{}, v1alpha1.Scale{}} {
		fields := reflect.TypeOf(of)
		for i := range fields.NumField() {
			name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(manifest, name+": ") && !strings.Contains(manifest, name+":\n") {
				t.Errorf("it has no %s", name)
			}
		}
	}
	inFolder(t, map[string]string{"f/function.yaml": manifest})
	functions, problems := validator(t).Load("f")
	if len(functions) != 1 || len(problems) > 0 {
		t.Errorf("%d functions, problems %q", len(functions), strs(problems))
	}
}
