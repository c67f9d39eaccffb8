// Package crd carries the Function CustomResourceDefinition as a value.
//
// It owns the embedding of the generated file and nothing else. It imports only
// the standard library.
package crd

import _ "embed"

// Functions is the CustomResourceDefinition of the Function kind, as YAML.
//
//go:embed serviceful.dev_functions.yaml
var Functions []byte
