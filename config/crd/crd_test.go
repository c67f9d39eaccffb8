package crd_test

import (
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/config/crd"
)

const (
	// maxBytes leaves room below the 256 KiB that kubectl apply can keep in an annotation.
	maxBytes = 200_000
	// maxRuleCost and maxTotalCost are the API server's budgets for estimated
	// costs (StaticEstimatedCostLimit and StaticEstimatedCRDCostLimit).
	maxRuleCost  = 10_000_000
	maxTotalCost = 100_000_000
)

func TestSize(t *testing.T) {
	if len(crd.Functions) > maxBytes {
		t.Errorf("the definition has %d bytes, more than %d", len(crd.Functions), maxBytes)
	}
}

// TestRulesFitTheBudget does what the API server does with the rules of a new
// definition: it compiles each and adds up their estimated costs.
func TestRulesFitTheBudget(t *testing.T) {
	s := structural(t)
	b := budget{t: t, env: environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())}
	b.walk(nil, s, model.SchemaDeclType(s, true), 1)
	if b.rules == 0 || b.total > maxTotalCost {
		t.Errorf("%d rules cost %d, the budget is %d", b.rules, b.total, uint64(maxTotalCost))
	}
	t.Logf("%d rules cost %d of %d", b.rules, b.total, uint64(maxTotalCost))
}

// TestEveryFieldIsExplained checks that kubectl explain has a text for each.
func TestEveryFieldIsExplained(t *testing.T) {
	fields := 0
	var walk func(path *field.Path, s *schema.Structural)
	walk = func(path *field.Path, s *schema.Structural) {
		for name, property := range s.Properties {
			path := path.Child(name)
			if path.String() == "metadata" {
				continue // every kind's, which the API server explains itself
			}
			if fields++; property.Description == "" {
				t.Errorf("%s has no description", path)
			}
			walk(path, &property)
		}
		if s.Items != nil {
			walk(path.Key("*"), s.Items)
		}
	}
	walk(nil, structural(t))
	if fields == 0 {
		t.Error("there are no fields")
	}
}

func TestDefaultsAreValid(t *testing.T) {
	errs, err := defaulting.ValidateDefaults(t.Context(), nil, structural(t), true, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range errs {
		t.Error(err)
	}
}

func structural(t *testing.T) *schema.Structural {
	t.Helper()
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(crd.Functions, &definition); err != nil {
		t.Fatal(err)
	}
	var props apiextensions.JSONSchemaProps
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := schema.NewStructural(&props)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// budget adds up the estimated costs of the rules below a schema node.
type budget struct {
	t     *testing.T
	env   *environment.EnvSet
	rules int
	total uint64
}

// walk visits a node that can occur times times in one object.
func (b *budget) walk(path *field.Path, s *schema.Structural, declared *apiservercel.DeclType, times uint64) {
	results, err := cel.Compile(s, declared, celconfig.PerCallLimit, b.env, cel.NewExpressionsEnvLoader())
	if err != nil {
		b.t.Fatalf("%s: %v", path, err)
	}
	for i, result := range results {
		if result.Error != nil {
			b.t.Errorf("%s: rule %d: %s", path, i, result.Error.Detail)
			continue
		}
		cost := result.MaxCost * min(times, result.MaxCardinality)
		b.rules++
		b.total += cost
		if cost > maxRuleCost {
			b.t.Errorf("%s: rule %d costs %d, the budget is %d", path, i, cost, uint64(maxRuleCost))
		}
	}
	if s.Items != nil {
		b.walk(path.Key("*"), s.Items, declared.ElemType, times*bound(b.t, path, s.ValueValidation.MaxItems))
	}
	b.checkBounds(path, s)
	for name, property := range s.Properties {
		if escaped, ok := apiservercel.Escape(name); ok && declared.Fields[escaped] != nil {
			b.walk(path.Child(name), &property, declared.Fields[escaped].Type, times)
		}
	}
}

// checkBounds wants a bound on every string and map that a team writes.
func (b *budget) checkBounds(path *field.Path, s *schema.Structural) {
	if !strings.HasPrefix(path.String(), "spec.") {
		return
	}
	bounds := s.ValueValidation
	if bounds == nil {
		bounds = &schema.ValueValidation{}
	}
	if s.Type == "string" && bounds.MaxLength == nil && bounds.Enum == nil {
		b.t.Errorf("%s has neither maxLength nor enum", path)
	}
	if s.AdditionalProperties != nil && bounds.MaxProperties == nil {
		b.t.Errorf("%s has no maxProperties", path)
	}
}

// bound is the largest size of a list. Every list has one.
func bound(t *testing.T, path *field.Path, maximum *int64) uint64 {
	t.Helper()
	if maximum == nil {
		t.Fatalf("%s has no maxItems", path)
	}
	return uint64(*maximum)
}
