package charts

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"sigs.k8s.io/yaml"
)

// schema is what this test reads of values.schema.json.
type schema struct {
	Description          string            `json:"description"`
	Type                 any               `json:"type"`
	Ref                  string            `json:"$ref"`
	Enum                 []any             `json:"enum"`
	Pattern              string            `json:"pattern"`
	MaxLength            int               `json:"maxLength"`
	Minimum              *int              `json:"minimum"`
	Maximum              *int              `json:"maximum"`
	MaxItems             int               `json:"maxItems"`
	MaxProperties        int               `json:"maxProperties"`
	Items                *schema           `json:"items"`
	Properties           map[string]schema `json:"properties"`
	AdditionalProperties any               `json:"additionalProperties"`
	Defs                 map[string]schema `json:"$defs"`
}

// open are objects as Kubernetes has them, or a parent chart: it checks them.
var open = []string{"global", "operator.affinity", "gateway.affinity", "dispatcher.affinity", "nats.affinity"}

// TestSchema holds values.yaml and its schema together: each value has a sentence
// and bounds, and each sentence a value.
func TestSchema(t *testing.T) {
	var root schema
	text, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	text, err = os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	c := checker{t, root.Defs}
	c.object("", values, root)
	if c.t.Failed() {
		t.Log("a value needs a line in values.yaml and in values.schema.json")
	}
}

type checker struct {
	t    *testing.T
	defs map[string]schema
}

// object compares the values of one object with its schema.
func (c checker) object(at string, values map[string]any, s schema) {
	c.sentence(at, s)
	if s.AdditionalProperties != false {
		c.t.Errorf("%s: additionalProperties is not false", at)
	}
	names := slices.Collect(maps.Keys(values))
	names = slices.AppendSeq(names, maps.Keys(s.Properties))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		path := strings.TrimPrefix(at+"."+name, ".")
		value, isValue := values[name]
		property, isProperty := s.Properties[name]
		switch nested, _ := value.(map[string]any); {
		case path == "global":
			c.sentence(path, property)
		case !isValue || !isProperty:
			c.t.Errorf("%s: in values.yaml: %v, in the schema: %v", path, isValue, isProperty)
		case property.Properties != nil:
			c.object(path, nested, property)
		default:
			c.leaf(path, property)
		}
	}
}

// leaf wants a sentence and bounds for a value.
func (c checker) leaf(at string, s schema) {
	c.sentence(at, s)
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		s = c.defs[name]
	}
	bounded := false
	switch s.Type {
	case "boolean":
		bounded = true
	case "string":
		bounded = s.Pattern != "" || s.MaxLength > 0
	case "array":
		bounded = s.MaxItems > 0 && s.Items != nil
	case "object":
		bounded = s.MaxProperties > 0 || s.AdditionalProperties == false || slices.Contains(open, at)
	default:
		bounded = s.Enum != nil || s.Minimum != nil && s.Maximum != nil
	}
	if !bounded {
		c.t.Errorf("%s has no bounds: %+v", at, s)
	}
}

func (c checker) sentence(at string, s schema) {
	d := s.Description
	if d == "" || !unicode.IsUpper(rune(d[0])) || !strings.HasSuffix(d, ".") {
		c.t.Errorf("%s has no sentence, but %q", at, d)
	}
}
