package propose

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// program is BMv2's JSON, as far as packets are followed through it (behavioral-model,
// docs/JSON_format.md).
type program struct {
	HeaderTypes []struct {
		Name   string              `json:"name"`
		Fields [][]json.RawMessage `json:"fields"`
	} `json:"header_types"`
	Headers []struct {
		Name     string `json:"name"`
		ID       int    `json:"id"`
		Type     string `json:"header_type"`
		Metadata bool   `json:"metadata"`
	} `json:"headers"`
	Stacks []struct {
		Name    string `json:"name"`
		Type    string `json:"header_type"`
		Headers []int  `json:"header_ids"`
	} `json:"header_stacks"`
	Parsers []struct {
		Init   string  `json:"init_state"`
		States []state `json:"parse_states"`
	} `json:"parsers"`
	Learn []struct {
		ID       int       `json:"id"`
		Name     string    `json:"name"`
		Elements []operand `json:"elements"`
	} `json:"learn_lists"`
	Actions []struct {
		Name       string      `json:"name"`
		ID         int         `json:"id"`
		Primitives []primitive `json:"primitives"`
	} `json:"actions"`
	Pipelines []control `json:"pipelines"`

	layout   map[string][]member // header's name -> its fields in order
	metadata map[string]bool
	actions  map[int][]primitive
	names    map[int]string
	states   map[string]*state
	stacks   map[string][]string // arrays of headers: the headers in them
	rounds   int                 // how often a state of the parser may be met again: as often as the longest array is long
	relevant []ref               // see deciding
	cpu      *uint64             // the CPU port; nil: the program does not know one
}

type member struct {
	name  string
	width int
}

// ref names a field of a header instance.
type ref struct{ header, field string }

func (r ref) String() string { return r.header + "." + r.field }

// used is how many headers of an array the parser has taken.
func used(stack string) ref { return ref{stack, "$used$"} }

// valid is the hidden field that says whether a packet has the header.
func valid(header string) ref { return ref{header, "$valid$"} }

type state struct {
	Name string `json:"name"`
	Ops  []struct {
		Op     string            `json:"op"`
		Params []json.RawMessage `json:"parameters"`
	} `json:"parser_ops"`
	Key         []operand `json:"transition_key"`
	Transitions []struct {
		Value json.RawMessage `json:"value"` // "default" or a number, by the compiler's age with a type or without
		Mask  *string         `json:"mask"`
		Next  string          `json:"next_state"`
		Type  string          `json:"type"`
	} `json:"transitions"`
}

type control struct {
	Name         string        `json:"name"`
	Init         string        `json:"init_table"`
	Tables       []node        `json:"tables"`
	Conditionals []conditional `json:"conditionals"`
}

type conditional struct {
	Name  string  `json:"name"`
	If    operand `json:"expression"`
	True  string  `json:"true_next"`
	False string  `json:"false_next"`
}

// node is a table.
type node struct {
	Name string `json:"name"`
	Key  []struct {
		Target []string `json:"target"`
		Kind   string   `json:"match_type"`
	} `json:"key"`
	ActionIDs []int             `json:"action_ids"`
	Next      map[string]string `json:"next_tables"` // by action, or __HIT__ and __MISS__
	After     string            `json:"base_default_next"`
	Default   *struct {
		Action int      `json:"action_id"`
		Data   []string `json:"action_data"`
	} `json:"default_entry"`
	Entries []struct {
		Key []struct {
			Kind  string `json:"match_type"`
			Value string `json:"key"`
		} `json:"match_key"`
		Action struct {
			ID   int      `json:"action_id"`
			Data []string `json:"action_data"`
		} `json:"action_entry"`
	} `json:"entries"`
}

type primitive struct {
	Op     string    `json:"op"`
	Params []operand `json:"parameters"`
}

// operand is a value in the program: a field, a number, an action's parameter or
// an expression over these.
type operand struct {
	kind  string // JSON's type; "" where it is none that is known
	field ref
	name  string // of a header
	n     uint64
	at    int // of runtime_data; of lookahead the offset, with n the width
	op    string
	left  *operand
	right *operand
}

func (o *operand) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var raw struct {
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
		Op    string          `json:"op"`
		Left  *operand        `json:"left"`
		Right *operand        `json:"right"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	o.kind = raw.Type
	switch raw.Type {
	case "":
		o.kind, o.op, o.left, o.right = "expression", raw.Op, raw.Left, raw.Right
	case "expression":
		return json.Unmarshal(raw.Value, o)
	case "field", "stack_field":
		var f []string
		if json.Unmarshal(raw.Value, &f) != nil || len(f) != 2 {
			return fmt.Errorf("%s is no field", raw.Value)
		}
		o.field = ref{f[0], f[1]}
	case "hexstr":
		var s string
		if err := json.Unmarshal(raw.Value, &s); err != nil {
			return err
		}
		n, err := hex(s)
		if err != nil { // longer than 64 bits: a mask of ones, as casts have it, or nothing that is compared here
			o.kind, n = "", 0
			if strings.Trim(strings.TrimPrefix(s, "0x"), "f") == "" {
				o.kind, n = "hexstr", ^uint64(0)
			}
		}
		o.n = n
	case "bool":
		if string(raw.Value) == "true" {
			o.n = 1
		}
	case "runtime_data", "local":
		o.kind = "runtime_data"
		return json.Unmarshal(raw.Value, &o.at)
	case "header", "regular", "stack":
		return json.Unmarshal(raw.Value, &o.name)
	case "lookahead":
		var at [2]int
		if err := json.Unmarshal(raw.Value, &at); err != nil {
			return err
		}
		o.at, o.n = at[0], uint64(at[1])
	}
	return nil
}

func hex(s string) (uint64, error) {
	return strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
}

// read takes BMv2's JSON apart. Its error is of a file that is none.
func read(device []byte) (*program, error) {
	p := &program{layout: map[string][]member{}, metadata: map[string]bool{}, actions: map[int][]primitive{}, names: map[int]string{}, states: map[string]*state{},
		stacks: map[string][]string{}, rounds: 1}
	if err := json.Unmarshal(device, p); err != nil {
		return nil, fmt.Errorf("BMv2's JSON: %w", err)
	}
	types := map[string][]member{}
	for _, t := range p.HeaderTypes {
		for _, f := range t.Fields {
			var m member
			if len(f) < 2 || json.Unmarshal(f[0], &m.name) != nil {
				return nil, fmt.Errorf("BMv2's JSON: header type %s: a field without name and width", t.Name)
			}
			_ = json.Unmarshal(f[1], &m.width) // "*" is a field of varying width: 0
			types[t.Name] = append(types[t.Name], m)
		}
	}
	byID := map[int]string{}
	for _, h := range p.Headers {
		p.layout[h.Name], p.metadata[h.Name], byID[h.ID] = types[h.Type], h.Metadata, h.Name
	}
	for _, s := range p.Stacks {
		for _, id := range s.Headers {
			p.stacks[s.Name] = append(p.stacks[s.Name], byID[id])
		}
		p.rounds = max(p.rounds, len(s.Headers))
	}
	for _, a := range p.Actions {
		p.actions[a.ID], p.names[a.ID] = a.Primitives, a.Name
	}
	if len(p.Parsers) == 0 || len(p.Pipelines) < 2 {
		return nil, errors.New("BMv2's JSON: want a parser and two pipelines, as v1model programs have")
	}
	for i := range p.Parsers[0].States {
		s := &p.Parsers[0].States[i]
		p.states[s.Name] = s
	}
	return p, nil
}

// last is an operand, with what the parser took last of an array of headers in the array's place.
func (p *program) last(o *operand, e env) operand {
	r := *o
	if r.kind == "stack_field" {
		if n := p.get(e, used(r.field.header)); n.kind == number && n.n > 0 && n.n <= uint64(len(p.stacks[r.field.header])) {
			r.kind, r.field.header = "field", p.stacks[r.field.header][n.n-1]
		}
	}
	return r
}

// width of a field in bits; 0 where it is not known.
func (p *program) width(r ref) int {
	if r.field == "$valid$" {
		return 1
	}
	for _, m := range p.layout[r.header] {
		if m.name == r.field {
			return m.width
		}
	}
	return 0
}
