package names

// Function identifies one Function: its namespace and its name. It is a map key.
type Function struct {
	Namespace string
	Name      string
}

// Queue identifies one queue. It is a map key.
type Queue struct {
	Namespace string
	Name      string
}

// String is "<namespace>/<name>", the form that logs and messages show.
func (f Function) String() string { return f.Namespace + "/" + f.Name }
