package contract

import (
	"iter"
	"strings"

	"switchbridge/flow"
)

// FieldNames are the names that the fields in missing, which a packet with
// headers m does not show, have. Where eth_type or ip_proto itself is missing,
// they are those of every protocol that the packet may be of.
func FieldNames(missing flow.Field, m *flow.Match) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := missing & flow.AllFields; rest != 0; rest &= rest - 1 {
			names := (rest & -rest).Info().OXM
			named := false
			for _, anyProtocol := range [...]bool{false, true} { // no field is left out for want of a name that fits
				for i := range names {
					if !anyProtocol && !possible(&names[i], missing, m) {
						continue
					}
					if named = true; !yield(names[i].Name) {
						return
					}
				}
				if named {
					break
				}
			}
		}
	}
}

// possible reports whether a packet of which m is known can have a field of this name.
func possible(x *flow.OXM, missing flow.Field, m *flow.Match) bool {
	shown := m.Fields &^ missing
	return (x.EthType == 0 || shown&flow.FieldEthType == 0 || x.EthType == m.EthType) &&
		(x.Proto == 0 || shown&flow.FieldIPProto == 0 || x.Proto == m.IPProto)
}

// FieldNamed returns the field of a name; 0 for a name that the contract does not have.
func FieldNamed(name string) flow.Field {
	for i := range flow.Fields {
		for j := range flow.Fields[i].OXM {
			if flow.Fields[i].OXM[j].Name == name {
				return flow.Fields[i].Field
			}
		}
	}
	return 0
}

// IncompleteText is the value of [HeaderIncomplete] for a packet; empty for a
// complete one.
func IncompleteText(p *flow.PacketIn) string {
	if p == nil || p.Incomplete == 0 {
		return ""
	}
	return join(FieldNames(p.Incomplete, &p.Match))
}

// parseIncomplete is IncompleteText's inverse. Names that are not known here
// are passed over: a newer gateway knows more fields.
func parseIncomplete(s string) (f flow.Field) {
	for name := range list(s) {
		f |= FieldNamed(name)
	}
	return f
}

func join(names iter.Seq[string]) string {
	var b []byte
	for name := range names {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(b, name...)
	}
	return string(b)
}

// list cuts a header's list into its elements.
func list(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.Trim(e, " \t"); e != "" && !yield(e) {
				return
			}
		}
	}
}
