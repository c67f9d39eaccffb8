package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// metadataFields are the fields of metadata that a manifest may want.
var metadataFields = []string{"annotations", "labels", "name", "namespace"}

// unknownFields removes the fields that the definition does not have and
// reports each, with the nearest one that it has. Metadata that cannot be read
// is reported here too.
func (v *Validator) unknownFields(object map[string]any) []finding {
	_, _, paths, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return findings(malformedMetadata(err))
	}
	paths = append(paths, pruning.PruneWithOptions(object, v.structural, true,
		schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	var found []finding
	for _, path := range paths {
		message := fmt.Sprintf("unknown field %q", path)
		steps := pathStep.FindAllString(path, -1)
		if near := nearest(steps[len(steps)-1], v.fieldsAt(steps[:len(steps)-1])); near != "" {
			message += fmt.Sprintf(", did you mean %q?", near)
		}
		found = append(found, finding{field: path, message: message})
	}
	return found
}

func malformedMetadata(err error) *field.Error {
	path := field.NewPath("metadata")
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) {
		if mistyped.Field != "" {
			path = path.Child(mistyped.Field)
		}
		return field.TypeInvalid(path, mistyped.Value, "must be of type "+mistyped.Type.String())
	}
	return field.Invalid(path, "", err.Error())
}

// fieldsAt lists the fields that the definition has below a path.
func (v *Validator) fieldsAt(steps []string) []string {
	if len(steps) > 0 && steps[0] == "metadata" {
		return metadataFields
	}
	at := v.structural
	for _, step := range steps {
		property, ok := at.Properties[step]
		switch {
		case ok:
			at = &property
		case at.Items != nil:
			at = at.Items
		default:
			return nil
		}
	}
	return slices.Sorted(maps.Keys(at.Properties))
}

// nearest is the known name with the fewest edits from name, or empty when all
// are too far away to be meant.
func nearest(name string, known []string) string {
	best, fewest := "", 1+len(name)/3
	for _, candidate := range known {
		if n := edits(strings.ToLower(name), strings.ToLower(candidate)); n <= fewest {
			if best == "" || n < fewest {
				best, fewest = candidate, n
			}
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
