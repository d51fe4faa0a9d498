package mapping

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checker compares a file's nodes with the raw structs before they are decoded, because the
// decoder's own errors name types of Go.
type checker struct {
	file  string
	nodes int // seen, with what aliases repeat
	errs  []error
}

// maxNodes bounds the number of values, which aliases can multiply in a small file.
const maxNodes = 1 << 18

var (
	nameType     = reflect.TypeFor[name]()
	nameListType = reflect.TypeFor[nameList]()
	callType     = reflect.TypeFor[rawCall]()
)

func (c *checker) bad(n *yaml.Node, at, format string, args ...any) {
	if at != "" {
		at += ": "
	}
	c.errs = append(c.errs, fmt.Errorf("%s:%d: %s%s", c.file, n.Line, at, fmt.Sprintf(format, args...)))
}

// value checks one node that is decoded into a t; at names its place for errors.
func (c *checker) value(n *yaml.Node, t reflect.Type, at string) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if c.nodes++; c.nodes > maxNodes {
		return // Parse refuses the file
	}
	scalar := n.Kind == yaml.ScalarNode
	switch {
	case t == nameType:
		if !scalar {
			c.bad(n, at, "want a name")
		}
	case t == nameListType:
		if !scalar && (n.Kind != yaml.SequenceNode || slices.ContainsFunc(n.Content, func(e *yaml.Node) bool { return e.Kind != yaml.ScalarNode })) {
			c.bad(n, at, "want a name, or a list of names")
		}
	case t == callType && scalar && n.Tag != "!!null": // an action's name alone
	case t.Kind() == reflect.Pointer:
		if n.Tag != "!!null" {
			c.value(n, t.Elem(), at)
		}
	case t.Kind() == reflect.Struct:
		c.section(n, t, at)
	case t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode && n.Tag != "!!null" {
			c.bad(n, at, "want names with values, not %s", kindOf(n))
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			switch key := n.Content[i]; {
			case key.Kind != yaml.ScalarNode:
				c.bad(key, at, "want a name for a key")
			case t.Key().Kind() == reflect.Uint32 && key.Decode(new(uint32)) != nil:
				c.bad(key, at, "%q is no number from 0 to %d", key.Value, ^uint32(0))
			default:
				c.value(n.Content[i+1], t.Elem(), place(at, key.Value))
			}
		}
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode && n.Tag != "!!null" {
			c.bad(n, at, "want a list, not %s", kindOf(n))
			return
		}
		for _, e := range n.Content {
			c.value(e, t.Elem(), strings.TrimSuffix(at, "s"))
		}
	case t.Kind() == reflect.String:
		if !scalar {
			c.bad(n, at, "want a name")
		}
	default: // a number
		if !scalar || n.Decode(reflect.New(t).Interface()) != nil {
			c.bad(n, at, "%s is no number from 0 to %d", kindOf(n), ^uint64(0)>>(64-t.Bits()))
		}
	}
}

// section checks a struct's keys.
func (c *checker) section(n *yaml.Node, t reflect.Type, at string) {
	var known []string
	types := map[string]reflect.Type{}
	for i := range t.NumField() {
		tag := t.Field(i).Tag.Get("yaml")
		known = append(known, tag)
		types[tag] = t.Field(i).Type
	}
	if n.Kind != yaml.MappingNode {
		c.bad(n, at, "want a section of %s, not %s", strings.Join(known, ", "), kindOf(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		if (key == "name" || key == "table") && types[key] == nameType && value.Kind == yaml.ScalarNode {
			at = strings.TrimSpace(fmt.Sprintf("%s %q", at, value.Value))
			break
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch kind, ok := types[key.Value]; {
		case ok:
			c.value(n.Content[i+1], kind, place(at, key.Value))
		case key.Tag == "!!merge":
			if c.nodes++; c.nodes <= maxNodes {
				for v := n.Content[i+1]; ; v = v.Alias {
					if v.Kind != yaml.AliasNode {
						c.section(v, t, at)
						break
					}
				}
			}
		default:
			c.bad(key, at, "unknown key %q; known keys: %s", key.Value, strings.Join(known, ", "))
		}
	}
}

func place(at, key string) string {
	if at == "" {
		return key
	}
	return at + ": " + key
}

// kindOf returns the kind of a node in YAML's words.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	return fmt.Sprintf("%q", n.Value)
}
