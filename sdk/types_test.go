// Package sdk holds the libraries for functions against the contract: their types, and what `switchbridge function test` says of their
// examples. Nothing imports it: each language's library is a folder to copy.
package sdk

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write generated files anew")

// schema is what of JSON Schema the contract's uses.
type schema struct {
	Ref         string             `json:"$ref"`
	Type        any                `json:"type"`
	Description string             `json:"description"`
	Required    []string           `json:"required"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
	Enum        []any              `json:"enum"`
	Const       string             `json:"const"`
	AnyOf       []*schema          `json:"anyOf"`
	OneOf       []*schema          `json:"oneOf"`
	Defs        map[string]*schema `json:"$defs"`
}

// object is a type of the contract, as every language names it.
type object struct {
	name  string
	about string
	of    *schema
}

// kind is what a member holds, whatever the language: a name of kinds below, or that of an object, in a list where the name begins with [].
func (s *schema) kind() string {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		switch name {
		case "uint8", "uint16", "uint32":
			return "number"
		case "uint64", "masked", "port":
			return "numberOrText"
		case "names":
			return "[]text"
		case "packet_actions":
			return "[]Action"
		case "travel":
			return "[]TravellingState"
		case "texts", "match":
			return name
		case "mac", "masked_mac", "ipv4", "ipv6", "base64", "dpid", "state", "state_name", "state_key":
			return "text"
		}
		return camel(name)
	}
	switch {
	case s.Properties["actions"] != nil && len(s.Properties) == 1:
		return "PacketOut"
	case s.Properties["packet_out"] != nil:
		return "Reply"
	case s.Properties["fields"] != nil:
		return "Reuse"
	case s.Properties["version"] != nil:
		return "StateVersion"
	case s.Items != nil && (len(s.Items.AnyOf) > 0):
		return "[]Action"
	case s.Items != nil:
		return "[]" + s.Items.kind()
	case len(s.AnyOf) > 0:
		return "numberOrText"
	}
	kind := fmt.Sprint(s.Type)
	switch {
	case strings.Contains(kind, "boolean"):
		return "truth"
	case strings.Contains(kind, "integer") && strings.Contains(kind, "string"):
		return "numberOrText"
	case strings.Contains(kind, "integer"):
		return "number"
	}
	return "text"
}

func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		if short := map[string]string{"id": "ID", "dpid": "DPID", "xid": "XID", "hw": "HW"}[word]; short != "" {
			word = short
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// contract reads the types, in the order in which one needs the other, and the fields of a match.
func contract(t *testing.T) (objects []object, fields []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/contract.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	decision := s.Defs["decision"].Properties
	action := &schema{Required: []string{"type"}, Properties: map[string]*schema{}}
	for _, one := range append(s.Defs["action"].OneOf, s.Defs["instruction"].OneOf...) {
		maps.Copy(action.Properties, one.Properties)
	}
	objects = []object{
		{"PortDescription", "A port of a switch.", s.Defs["port_description"]},
		{"Switch", "Who asks.", s.Defs["switch"]},
		{"PacketIn", "A packet that needs a decision.", s.Defs["packet_in"]},
		{"FlowRemoved", "A rule that has gone.", s.Defs["flow_removed"]},
		{"PortStatus", "A port that has changed.", s.Defs["port_status"]},
		{"Error", "What the switch refused.", s.Defs["error"]},
		{"TravellingState", "A state that comes back with later events of its key.", s.Defs["travel"].Items},
		{"Event", "The body of a request.", s.Defs["event"]},
		{"Action", "What is done with a packet; which members there are follows from type.", action},
		{"Flow", "A rule.", s.Defs["flow"]},
		{"Entry", "A P4 table's entry, by the names of its program.", s.Defs["entry"]},
		{"PacketOut", "What is done with the packet that asked; without actions it is dropped.", decision["packet_out"]},
		{"Reply", "What becomes of a packet if it is a reply.", decision["if_reply"]},
		{"Reuse", "For which other packets an answer holds.", decision["reuse"]},
		{"StateVersion", "A state that an answer rests on.", decision["states"].Items},
		{"Decision", "The body of an answer.", s.Defs["decision"]},
	}
	return objects, slices.Sorted(maps.Keys(s.Defs["match"].Properties))
}

// member is one of an object's.
type member struct {
	name, kind string
	required   bool
}

func (o *object) members() (list []member) {
	for _, name := range slices.Sorted(maps.Keys(o.of.Properties)) {
		list = append(list, member{name, o.of.Properties[name].kind(), slices.Contains(o.of.Required, name)})
	}
	return list
}

// language is how types are written.
type language struct {
	kinds  map[string]string
	list   string // %s: what is in it
	head   string // @NAMES: the fields of a match
	object func(b *bytes.Buffer, o *object, typeOf func(kind string) string)
}

func (l *language) typeOf(kind string) string {
	if rest, ok := strings.CutPrefix(kind, "[]"); ok {
		return fmt.Sprintf(l.list, l.typeOf(rest))
	}
	if name := l.kinds[kind]; name != "" {
		return name
	}
	return kind
}

const generated = "generated from docs/contract.schema.json by go test ./sdk -run TestGenerated -update"

var languages = map[string]language{
	"go/function/contract.go": {
		kinds: map[string]string{"number": "uint32", "numberOrText": "any", "text": "string", "truth": "bool", "texts": "map[string]any", "match": "Match"},
		list:  "[]%s",
		head:  "// Code " + generated + ". DO NOT EDIT.\n\npackage function\n\n// Match is headers of packets, by the contract's names: numbers and texts.\ntype Match map[string]any\n\nvar matchFields = map[string]bool{@NAMES}\n",
		object: func(b *bytes.Buffer, o *object, typeOf func(string) string) {
			fmt.Fprintf(b, "\n// %s: %s\ntype %s struct {\n", o.name, o.about, o.name)
			for _, m := range o.members() {
				tag, typ := m.name, typeOf(m.kind)
				if !m.required {
					tag += ",omitempty"
					if typ[0] >= 'A' && typ[0] <= 'Z' && typ != "Match" {
						typ = "*" + typ
					}
				}
				fmt.Fprintf(b, "%s %s `json:%q`\n", camel(m.name), typ, tag)
			}
			b.WriteString("}\n")
		},
	},
	"python/src/switchbridge_function/contract.py": {
		kinds: map[string]string{"number": "int", "numberOrText": "int | str", "text": "str", "truth": "bool", "texts": "dict[str, str | float]", "match": "Match"},
		list:  "list[%s]",
		head: `"""Types of the contract, ` + generated + `."""

from __future__ import annotations

from typing import TypedDict, Union

Match = dict[str, Union[int, str]]

MATCH_FIELDS = frozenset((@NAMES))
`,
		object: func(b *bytes.Buffer, o *object, typeOf func(string) string) {
			fmt.Fprintf(b, "\n\nclass %s(TypedDict, total=False):\n    \"\"\"%s\"\"\"\n\n", o.name, o.about)
			for _, m := range o.members() {
				fmt.Fprintf(b, "    %s: %s\n", m.name, typeOf(m.kind))
			}
		},
	},
	"typescript/src/contract.ts": {
		kinds: map[string]string{"number": "number", "numberOrText": "number | string", "text": "string", "truth": "boolean", "texts": "Record<string, string | number>", "match": "Match"},
		list:  "Array<%s>",
		head:  "// Types of the contract, " + generated + ".\n\n/** Headers of packets, by the contract's names. */\nexport type Match = Record<string, number | string>;\n\nexport const matchFields: ReadonlySet<string> = new Set([@NAMES]);\n",
		object: func(b *bytes.Buffer, o *object, typeOf func(string) string) {
			fmt.Fprintf(b, "\n/** %s */\nexport interface %s {\n", o.about, o.name)
			for _, m := range o.members() {
				optional := "?"
				if m.required {
					optional = ""
				}
				fmt.Fprintf(b, "  %s%s: %s;\n", m.name, optional, typeOf(m.kind))
			}
			b.WriteString("}\n")
		},
	},
}

// TestGenerated: each library's types are the schema's.
func TestGenerated(t *testing.T) {
	objects, fields := contract(t)
	for path, l := range languages {
		var list []string
		for i, name := range fields {
			quoted := fmt.Sprintf("%q", name)
			if strings.HasPrefix(path, "go/") {
				quoted += ": true"
			}
			if i%8 == 0 {
				quoted = "\n    " + quoted
			}
			list = append(list, quoted)
		}
		b := bytes.NewBufferString(strings.Replace(l.head, "@NAMES", strings.ReplaceAll(strings.Join(list, ", "), ", \n", ",\n")+",\n", 1))
		for i := range objects {
			l.object(b, &objects[i], l.typeOf)
		}
		want := b.Bytes()
		if strings.HasSuffix(path, ".go") {
			source, err := format.Source(want)
			if err != nil {
				t.Fatalf("%v\n%s", err, want)
			}
			want = source
		}
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is not what docs/contract.schema.json says (%v): go test ./sdk -run TestGenerated -update", path, err)
		}
	}
}
