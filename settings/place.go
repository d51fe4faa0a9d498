package settings

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keyError is what is wrong with a key's value.
type keyError struct {
	key string // as in openflow.meters[1].rate
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

func wrong(key, format string, args ...any) error {
	return &keyError{key, fmt.Errorf(format, args...)}
}

// placed adds the line of the key that err is about, as far as it is in the file:
// a value may be a default, or lack another.
func placed(text []byte, err error) error {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return err
	}
	return placedIn(doc.Content[0], err)
}

// placedIn is placed for a part of a file, whose keys the error names.
func placedIn(n *yaml.Node, err error) error {
	var k *keyError
	if !errors.As(err, &k) {
		return err
	}
	if line := lineOf(n, k.key); line > 0 {
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}

// lineOf returns the line of a key in a mapping, or of what it would be in; 0 where
// there is nothing of it.
func lineOf(n *yaml.Node, key string) (line int) {
	for key != "" {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		name, rest, _ := strings.Cut(key, ".")
		name, index, indexed := strings.Cut(name, "[")
		found := (*yaml.Node)(nil)
		if n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == name {
					found, line = n.Content[i+1], n.Content[i].Line
				}
			}
		}
		if found == nil {
			return line
		}
		if n = found; indexed {
			for n.Kind == yaml.AliasNode {
				n = n.Alias
			}
			i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
			if err != nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
				return line
			}
			n = n.Content[i]
			line = n.Line
		}
		key = rest
	}
	if n.Line > 0 && n.Kind == yaml.ScalarNode {
		return n.Line
	}
	return line
}
