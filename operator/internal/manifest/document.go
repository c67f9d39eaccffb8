package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// part is the text of one YAML document in a file.
type part struct {
	text []byte
	// before is the number of lines of the file before the text.
	before int
}

// split cuts a file where kubectl does: at lines of "---" and perhaps a comment.
func split(data []byte) []part {
	var parts []part
	current, line := part{}, 0
	for text := range bytes.Lines(data) {
		line++
		if rest, ok := bytes.CutPrefix(text, []byte("---")); ok && isBlank(rest) {
			parts = append(parts, current)
			current = part{before: line}
			continue
		}
		current.text = append(current.text, text...)
	}
	return append(parts, current)
}

// isBlank says whether there is only space or a comment.
func isBlank(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) == 0 || text[0] == '#'
}

// document is one parsed YAML document: its nodes know the lines.
type document struct {
	part
	root *yamlv3.Node // nil when the document is empty
}

// syntaxError is YAML that does not parse.
type syntaxError struct {
	line    int
	message string
}

func (e *syntaxError) Error() string { return e.message }

// badSeparator is a "---" that split did not cut at. kubectl refuses it, and
// the parsers would silently ignore what comes after.
var badSeparator = regexp.MustCompile(`(?m)^---`)

func parse(p part) (document, error) {
	if at := badSeparator.FindIndex(p.text); at != nil {
		line := p.before + 1 + bytes.Count(p.text[:at[0]], []byte("\n"))
		return document{}, &syntaxError{line: line, message: "reading YAML: only a comment may follow --- on its line"}
	}
	var node yamlv3.Node
	if err := yamlv3.Unmarshal(p.text, &node); err != nil {
		return document{}, p.syntaxError(err)
	}
	d := document{part: p}
	if len(node.Content) == 1 && node.Content[0].Kind == yamlv3.MappingNode {
		d.root = node.Content[0]
	}
	return d, nil
}

var (
	lineInMessage = regexp.MustCompile(`(?s)^.*?line ([0-9]+): `)
	// countedFromZero matches messages of the YAML library's parser, which
	// counts lines from 0; those of its scanner count from 1.
	countedFromZero = regexp.MustCompile(`did not find expected (<|node content|'-'|key|',')`)
)

// syntaxError takes the line out of a parser's message.
func (p part) syntaxError(err error) error {
	message := err.Error()
	match := lineInMessage.FindStringSubmatch(message)
	if match == nil {
		return &syntaxError{line: p.before + 1, message: "reading YAML: " + strings.TrimPrefix(message, "yaml: ")}
	}
	line, err := strconv.Atoi(match[1])
	if err != nil {
		line = 1
	}
	if countedFromZero.MatchString(message) {
		line++
	}
	line = min(line, 1+bytes.Count(p.text, []byte("\n")))
	return &syntaxError{line: p.before + line, message: "reading YAML: " + message[len(match[0]):]}
}

// value decodes the document as kubectl does, so that `on` is a boolean here too,
// and a key that stands before a merge (<<) loses to it.
func (d document) value() (map[string]any, error) {
	data, err := yaml.YAMLToJSON(d.text)
	if err != nil {
		return nil, d.syntaxError(err)
	}
	var value map[string]any
	if err := utiljson.Unmarshal(data, &value); err != nil {
		return nil, d.syntaxError(err)
	}
	if value == nil {
		return nil, d.syntaxError(errors.New("the document is not a mapping"))
	}
	return value, nil
}

// names says whether a document that cannot be decoded names a kind or an API
// group, in itself or in an item.
func (d document) names(kind, group string) bool {
	nodes := []*yamlv3.Node{d.root}
	if items := entry(d.root, "items"); items != nil {
		nodes = append(nodes, items.Content...)
	}
	return slices.ContainsFunc(nodes, func(node *yamlv3.Node) bool {
		k := entry(node, "kind")
		version := entry(node, "apiVersion")
		return k != nil && k.Value == kind || version != nil && strings.HasPrefix(version.Value, group+"/")
	})
}

// object is a document, or an item of a list, with its value.
type object struct {
	document
	object map[string]any
}

// flatten is what kubectl makes of a document: itself, or the items of a list.
func flatten(d document, value map[string]any) []object {
	kind, _ := value["kind"].(string)
	items, isList := value["items"].([]any)
	of, named := strings.CutSuffix(kind, "List")
	if !isList || !named {
		return []object{{d, value}}
	}
	var out []object
	for i, item := range items {
		value, ok := item.(map[string]any)
		_, node := d.find(fmt.Sprintf("items[%d]", i))
		if !ok || node == nil {
			continue
		}
		if kind, _ := value["kind"].(string); kind == "" && of != "" {
			value["kind"] = of
		}
		out = append(out, flatten(document{d.part, node}, value)...)
	}
	return out
}

// duplicateKey finds the first key that a mapping has twice.
func (d document) duplicateKey(node *yamlv3.Node) error {
	if node.Kind == yamlv3.MappingNode {
		seen := map[string]bool{}
		for i := 0; i < len(node.Content); i += 2 {
			key := node.Content[i]
			if key.Kind == yamlv3.ScalarNode && seen[key.Value] {
				return &syntaxError{line: d.before + key.Line, message: fmt.Sprintf("reading YAML: key %q is set twice", key.Value)}
			}
			seen[key.Value] = true
		}
	}
	for _, child := range node.Content {
		if err := d.duplicateKey(child); err != nil {
			return err
		}
	}
	return nil
}

var pathStep = regexp.MustCompile(`\[[^\]]*\]|[^.\[\]]+`)

// line is the line of the field at a path such as spec.triggers[0].name, or of
// the nearest field around it.
func (d document) line(path string) int {
	line, _ := d.find(path)
	return d.before + line
}

// find is the line of a field, or of the nearest one around it, and its value, or
// nil. It follows merges: the document must have been decoded, which proves that
// none leads back to itself.
func (d document) find(path string) (line int, node *yamlv3.Node) {
	node, line = d.root, d.root.Line
	for _, step := range pathStep.FindAllString(path, -1) {
		key, value := child(node, strings.Trim(step, "[]"))
		if value == nil {
			return line, nil
		}
		node, line = value, key.Line
	}
	return line, resolve(node)
}

func resolve(node *yamlv3.Node) *yamlv3.Node {
	if node.Kind == yamlv3.AliasNode {
		return node.Alias
	}
	return node
}

// entry finds the value of a key that a mapping has itself.
func entry(node *yamlv3.Node, name string) *yamlv3.Node {
	if node = resolve(node); node.Kind != yamlv3.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// child finds a key of a mapping, with what is merged into it, or an index of a
// sequence. The first result is the node that carries the line.
func child(node *yamlv3.Node, step string) (key, value *yamlv3.Node) {
	node = resolve(node)
	switch node.Kind {
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 { // the last one counts
			switch at := node.Content[i]; {
			case at.ShortTag() == "!!merge":
				if k, v := merged(node.Content[i+1], step); v != nil {
					key, value = k, v
				}
			case at.Value == step:
				key, value = at, node.Content[i+1]
			}
		}
	case yamlv3.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i]
		}
	}
	return key, value
}

// merged finds a key in what << names: a mapping, or several, of which the first
// one counts.
func merged(node *yamlv3.Node, step string) (key, value *yamlv3.Node) {
	if node = resolve(node); node.Kind != yamlv3.SequenceNode {
		return child(node, step)
	}
	for _, one := range node.Content {
		if key, value = child(one, step); value != nil {
			return key, value
		}
	}
	return nil, nil
}
