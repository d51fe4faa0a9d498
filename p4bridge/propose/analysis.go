package propose

import (
	"encoding/json"
	"fmt"

	"switchbridge/p4bridge/pipeline"
)

// analysis is what the compiled program says, beside P4Info.
type analysis struct {
	pl *pipeline.Pipeline
	p  *program
	w  *walker

	packets []packet         // from the front panel
	fromCPU []packet         // that the gateway sends
	set     map[ref]string   // fields of the program's own that the control plane sets: by which action
	nodes   map[string]*node // by full name
	tooMany bool             // some scenario had too many ways to follow
	known   map[string][]outcome
}

func analyse(pl *pipeline.Pipeline) (*analysis, error) {
	p, err := read(pl.Device)
	if err != nil {
		return nil, err
	}
	a := &analysis{pl: pl, p: p, set: map[ref]string{}, nodes: map[string]*node{}, known: map[string][]outcome{},
		w: &walker{p: p, meaning: map[ref][]string{ingressPort: {"in_port"}}, flags: map[ref][]flag{}, layer: map[string]string{}, loose: map[string]bool{}, checked: map[*json.RawMessage]map[string]bool{}}}
	for i := range p.Pipelines {
		for j := range p.Pipelines[i].Tables {
			a.nodes[p.Pipelines[i].Tables[j].Name] = &p.Pipelines[i].Tables[j]
		}
	}
	a.w.parser(0, false)
	a.packets = p.distinct(a.w.packets)
	if p.cpu = a.cpuPort(); p.cpu != nil {
		a.w.packets = nil
		a.w.parser(*p.cpu, true)
		a.fromCPU = p.distinct(a.w.packets)
	}
	a.spread()
	return a, nil
}

// cpuPort is the number that the program compares ingress ports with; where it
// compares none, egress ports; or nil.
func (a *analysis) cpuPort() *uint64 {
	for i := range a.p.Parsers[0].States {
		s := &a.p.Parsers[0].States[i]
		if len(s.Key) != 1 || s.Key[0].kind != "field" || s.Key[0].field != ingressPort {
			continue
		}
		for _, t := range s.Transitions {
			if n, err := hex(unquote(t.Value)); err == nil {
				return &n
			}
		}
	}
	for _, port := range []ref{ingressPort, egressPort} {
		for i := range a.p.Pipelines {
			for j := range a.p.Pipelines[i].Conditionals {
				if n := compared(&a.p.Pipelines[i].Conditionals[j].If, port); n != nil {
					return n
				}
			}
		}
	}
	return nil
}

func unquote(b []byte) string {
	if len(b) < 2 {
		return ""
	}
	return string(b[1 : len(b)-1])
}

// compared finds the number that a condition compares a field with.
func compared(o *operand, with ref) *uint64 {
	if o == nil || o.kind != "expression" {
		return nil
	}
	if o.op == "==" && o.right != nil && o.right.kind == "hexstr" {
		if o.left != nil && o.left.kind == "field" && o.left.field == with {
			return &o.right.n
		}
	}
	if n := compared(o.left, with); n != nil {
		return n
	}
	return compared(o.right, with)
}

// spread carries what fields mean on to the program's own fields that actions copy
// them to, and notes which of those the control plane sets.
func (a *analysis) spread() {
	for range 4 { // copies of copies
		for id, list := range a.p.actions {
			for i := range list {
				ps := list[i].Params
				if list[i].Op != "assign" || len(ps) != 2 || ps[0].kind != "field" || !a.p.metadata[ps[0].field.header] || ps[0].field.header == "standard_metadata" {
					continue
				}
				switch from := a.p.plain(&ps[1]); {
				case from != nil:
					a.w.copies(ps[0].field, from)
				case ps[1].kind == "runtime_data":
					a.set[ps[0].field] = a.p.names[id]
				}
			}
		}
	}
}

// actionOf returns BMv2's number of an action that a table may have.
func (a *analysis) actionOf(t *pipeline.Table, act *pipeline.Action) int {
	n := a.nodes[t.FullName]
	if n == nil {
		return -1
	}
	for _, id := range n.ActionIDs {
		if a.p.names[id] == act.FullName {
			return id
		}
	}
	return -1
}

// given is an entry of a table whose parameters are symbols, "parameter 0" and on.
func (a *analysis) given(t *pipeline.Table, act *pipeline.Action) entry {
	e := entry{action: a.actionOf(t, act)}
	for i := range act.Params {
		e.args = append(e.args, sym(fmt.Sprintf("parameter %d", i)))
	}
	return e
}

// follow carries a scenario out for packets of the front panel.
func (a *analysis) follow(s scenario) []outcome {
	id := fmt.Sprint(s) // maps are printed in the order of their keys
	if list, ok := a.known[id]; ok {
		return list
	}
	list, ok := a.p.follow(a.packets, s)
	if !ok {
		a.tooMany = true
	}
	a.known[id] = list
	return list
}

// loose are the kinds of IPv4 packets whose ports the parser takes from elsewhere.
func (a *analysis) loose() (kinds []string) {
	for _, kind := range []string{"with options", "that are later fragments"} {
		if a.w.loose[kind] {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// arrays are those of packet_in and packet_out that the program has as arrays of headers. P4Info describes the first of them, and says nothing of the others.
func (a *analysis) arrays() (names []string) {
	for _, h := range []*pipeline.Header{a.pl.PacketIn, a.pl.PacketOut} {
		if h == nil {
			continue
		}
		for _, headers := range a.p.stacks {
			if len(headers) > 0 && sameLayout(a.p.layout[headers[0]], h) {
				names = append(names, h.Name)
				break
			}
		}
	}
	return names
}
