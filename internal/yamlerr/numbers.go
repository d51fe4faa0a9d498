package yamlerr

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// CheckNumbers says which numbers of a file, that is to be decoded into a value
// of into's type, have a form that means different numbers to different readers:
// YAML takes 010 for octal 8, 0b11 for 3, 1_0 for 10 and 1.5 for a whole 1. A file
// that is no YAML is left to the decoder.
func CheckNumbers(text []byte, into any) error {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	var c numbers
	c.check(doc.Content[0], reflect.TypeOf(into), 0)
	if len(c) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(c, "; "))
}

// numbers are what is wrong with a file's.
type numbers []string

var (
	wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)$`)
	anyNumber   = regexp.MustCompile(`^-?((0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?|0[xX][0-9a-fA-F]+)$`)
	duration    = reflect.TypeFor[time.Duration]()
	unmarshaler = reflect.TypeFor[yaml.Unmarshaler]()
)

// maxDepth bounds the walk; no configuration nests deeper.
const maxDepth = 100

// check walks a node and the type that it becomes. A scalar that the type reads
// itself is left to it.
func (c *numbers) check(n *yaml.Node, t reflect.Type, depth int) {
	if depth > maxDepth {
		return
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Tag == "!!merge" {
				c.check(value, t, depth+1)
			} else if f, ok := field(t, key.Value); ok {
				c.check(value, f.Type, depth+1)
			}
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.check(n.Content[i], t.Key(), depth+1)
			c.check(n.Content[i+1], t.Elem(), depth+1)
		}
	case n.Kind == yaml.SequenceNode && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		for _, e := range n.Content {
			c.check(e, t.Elem(), depth+1)
		}
	case n.Kind == yaml.ScalarNode && t != duration && !reflect.PointerTo(t).Implements(unmarshaler):
		c.scalar(n, t)
	}
}

func (c *numbers) scalar(n *yaml.Node, t reflect.Type) {
	form, want := wholeNumber, "a whole number in decimal without leading zeros, or in hexadecimal after 0x"
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
	case reflect.Float32, reflect.Float64:
		form, want = anyNumber, "a number in decimal without leading zeros"
	default:
		return
	}
	// What YAML does not take for a number at all, the decoder refuses in its own words; .nan and .inf have no
	// other form.
	if tag := n.ShortTag(); (tag == "!!int" || tag == "!!float") && strings.ContainsAny(n.Value, "0123456789") && !form.MatchString(n.Value) {
		*c = append(*c, fmt.Sprintf("line %d: %q: want %s", n.Line, n.Value, want))
	}
}

// field is the struct's field of a key, as the yaml package finds it.
func field(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if strings.Contains(options, "inline") {
			if inner, ok := field(f.Type, key); ok {
				return inner, true
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		if name == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}
