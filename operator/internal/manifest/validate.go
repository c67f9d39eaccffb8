package manifest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/config/crd"
	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Validator checks Functions by the rules of the CustomResourceDefinition. It
// is safe for concurrent use.
type Validator struct {
	structural *schema.Structural
	schema     validation.SchemaCreateValidator
	rules      *cel.Validator
}

// NewValidator compiles the definition's schema and rules. That takes some tens
// of milliseconds: make one and keep it.
func NewValidator() (*Validator, error) {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(crd.Functions, &definition); err != nil {
		return nil, fmt.Errorf("reading the Function definition: %w", err)
	}
	var props apiextensions.JSONSchemaProps
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		definition.Spec.Versions[0].Schema.OpenAPIV3Schema, &props, nil)
	if err != nil {
		return nil, fmt.Errorf("converting the Function schema: %w", err)
	}
	structural, err := schema.NewStructural(&props)
	if err != nil {
		return nil, fmt.Errorf("reading the Function schema: %w", err)
	}
	validator, _, err := validation.NewSchemaValidator(&props)
	if err != nil {
		return nil, fmt.Errorf("compiling the Function schema: %w", err)
	}
	return &Validator{
		structural: structural,
		schema:     validator,
		rules:      cel.NewValidator(structural, true, celconfig.PerCallLimit),
	}, nil
}

// document reads the Functions of one document: neither Manifests nor problems
// when the document is something else.
func (v *Validator) document(file string, p part) (functions []*Manifest, problems []Problem) {
	d, err := parse(p)
	if err != nil {
		return nil, syntaxProblem(file, err)
	}
	if d.root == nil {
		return nil, nil
	}
	object, err := d.value()
	if err != nil && d.names(v1alpha1.Kind, v1alpha1.Group) {
		return nil, syntaxProblem(file, err)
	}
	for _, one := range flatten(d, object) {
		if !isOurs(one.object) {
			continue
		}
		if err := d.duplicateKey(one.root); err != nil {
			return nil, syntaxProblem(file, err)
		}
		m, refused := v.function(file, one)
		problems = append(problems, refused...)
		if m != nil {
			functions = append(functions, m)
		}
	}
	return functions, problems
}

// function reads one object that means to be a Function.
func (v *Validator) function(file string, o object) (*Manifest, []Problem) {
	delete(o.object, "status") // as the API server does when an object is created

	found := v.check(o.object)
	if len(found) == 0 {
		function, err := decode(o.object)
		if err == nil {
			return &Manifest{Function: function, File: file, Line: o.line(""), document: o.document}, nil
		}
		found = []finding{{message: err.Error()}}
	}
	var problems []Problem
	for _, f := range found {
		problems = append(problems, Problem{File: file, Line: o.line(f.field), Field: f.field, Function: nameOf(o.object), Message: f.message})
	}
	return nil, problems
}

// isOurs says whether an object means to be a Function: by its kind, or by its
// API group, where a wrong kind is a mistake.
func isOurs(object map[string]any) bool {
	kind, _ := object["kind"].(string)
	version, _ := object["apiVersion"].(string)
	group, _, _ := strings.Cut(version, "/")
	return kind == v1alpha1.Kind || group == v1alpha1.Group
}

func syntaxProblem(file string, err error) []Problem {
	p := Problem{File: file, Message: err.Error()}
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		p.Line = syntax.line
	}
	return []Problem{p}
}

// finding is one thing wrong with a Function: a Problem without its position.
type finding struct {
	field   string
	message string
}

func findings(errs ...*field.Error) []finding {
	var found []finding
	for _, err := range errs {
		path := err.Field
		if path == (*field.Path)(nil).String() {
			// a rule about metadata stands at the root, and its message begins with the field
			path, _, _ = strings.Cut(err.Detail, " ")
		}
		found = append(found, finding{field: path, message: err.ErrorBody()})
	}
	return found
}

// check takes an object through what the API server does with a new one, in the
// same order: type, unknown fields, defaults, schema, lists, rules. A step
// stops the later ones where it does so there.
func (v *Validator) check(object map[string]any) []finding {
	if errs := checkType(object); len(errs) > 0 {
		return findings(errs...)
	}
	if found := v.unknownFields(object); len(found) > 0 {
		return found
	}
	defaulting.Default(object, v.structural)
	defaulting.PruneNonNullableNullsWithoutDefaults(object, v.structural)

	ctx := context.Background()
	errs := validation.ValidateCustomResource(nil, object, v.schema)
	errs = append(errs, checkName(object)...)
	errs = append(errs, objectmeta.Validate(ctx, nil, object, v.structural, true)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, v.structural, object)...)
	if !blocksRules(errs) {
		broken, _ := v.rules.Validate(ctx, nil, v.structural, object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, broken...)
	}
	return findings(errs...)
}

// blocksRules says whether the API server would not look at the rules: they may
// count on types, bounds and required fields.
func blocksRules(errs field.ErrorList) bool {
	for _, err := range errs {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong,
			field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

func checkType(object map[string]any) field.ErrorList {
	var errs field.ErrorList
	for key, want := range map[string]string{"kind": v1alpha1.Kind, "apiVersion": v1alpha1.GroupVersion.String()} {
		if got, _ := object[key].(string); got != want {
			errs = append(errs, field.NotSupported(field.NewPath(key), got, []string{want}))
		}
	}
	return errs
}

// checkName wants a name: a file cannot leave its choice to the API server.
func checkName(object map[string]any) field.ErrorList {
	if nameOf(object).Name == "" {
		return field.ErrorList{field.Required(field.NewPath("metadata", "name"), "a Function needs a name")}
	}
	return nil
}

// decode turns a valid object into a Function. Of the metadata it keeps what a
// file decides.
func decode(object map[string]any) (v1alpha1.Function, error) {
	var f v1alpha1.Function
	data, err := json.Marshal(object)
	if err != nil {
		return f, fmt.Errorf("encoding the Function: %w", err)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("decoding the Function: %w", err)
	}
	f.ObjectMeta = metav1.ObjectMeta{Name: f.Name, Namespace: f.Namespace, Labels: f.Labels, Annotations: f.Annotations}
	if f.Namespace == "" {
		f.Namespace = DefaultNamespace
	}
	return f, nil
}

// nameOf is the Function's name as far as it can be read.
func nameOf(object map[string]any) names.Function {
	metadata, _ := object["metadata"].(map[string]any)
	f := names.Function{Namespace: DefaultNamespace}
	if namespace, _ := metadata["namespace"].(string); namespace != "" {
		f.Namespace = namespace
	}
	f.Name, _ = metadata["name"].(string)
	return f
}
