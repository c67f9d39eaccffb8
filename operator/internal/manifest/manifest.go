// Package manifest reads Functions from YAML files and says, as a person needs
// it, what is wrong with them.
//
// It owns the reading of folders, the positions (file, line, field) of problems
// and the validation of one Function by the very definition that a cluster has:
// config/crd, with the API server's own libraries. So the laptop refuses what a
// cluster would refuse, with the same message. It never decides how Functions
// are wired, builds nothing and writes nothing. It imports api/v1alpha1, names,
// config/crd and the Kubernetes apiextensions libraries.
package manifest

import (
	"fmt"
	"strings"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// DefaultNamespace is the namespace of a Function whose manifest names none.
const DefaultNamespace = "default"

// Manifest is one valid Function and where it was found.
type Manifest struct {
	// Function has the definition's defaults and a namespace. Its
	// creationTimestamp is zero: files have no order of creation.
	Function v1alpha1.Function
	// File is the path of the file, as found under the folder given to Load.
	File string
	// Line is where the Function begins, from 1.
	Line int

	document document
}

// LineOf is the line of the field at a path such as spec.triggers[0].http, or of
// the nearest one around it.
func (m *Manifest) LineOf(path string) int { return m.document.line(path) }

// Name identifies the Function.
func (m *Manifest) Name() names.Function {
	return names.Function{Namespace: m.Function.Namespace, Name: m.Function.Name}
}

// Problem is one reason why a file, or a Function in it, is refused.
type Problem struct {
	// File is the path of the file or folder.
	File string
	// Line is the line of the field, or of the nearest one around it; 0 when
	// the whole file is meant.
	Line int
	// Field is the path of the field, such as spec.triggers[0].name; empty when
	// no field is meant.
	Field string
	// Function is the Function, as far as it could be read.
	Function names.Function
	// Message says what is wrong, and what to do where that is not plain.
	Message string
}

// String is "file:line: field: message", without the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	return b.String() + ": " + p.Message
}
