package names

import "strings"

// Function identifies one Function: its namespace and its name. It is a map key.
type Function struct {
	Namespace string
	Name      string
}

// String is "<namespace>/<name>", the form that logs and messages show.
func (f Function) String() string { return f.Namespace + "/" + f.Name }

// Less orders functions by namespace, then name: the last resort wherever two
// Functions claim one thing and neither is older.
func (f Function) Less(g Function) bool {
	if c := strings.Compare(f.Namespace, g.Namespace); c != 0 {
		return c < 0
	}
	return f.Name < g.Name
}
