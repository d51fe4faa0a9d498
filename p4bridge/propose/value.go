package propose

import "maps"

// value is what is known of a field while a packet is followed: a number, a name
// for what is not known yet (the ingress port, an action's parameter), or nothing.
type value struct {
	kind valueKind
	n    uint64 // of a number
	name string // of a symbol
}

type valueKind uint8

const (
	unknown valueKind = iota
	number
	symbol
)

func num(n uint64) value         { return value{kind: number, n: n} }
func sym(name string) value      { return value{kind: symbol, name: name} }
func (v value) is(n uint64) bool { return v == num(n) }

// The symbols. A port that a rule names is never the CPU's, nor the one that the
// packet came from.
const (
	inPort  = "ingress port"
	aMember = "a port of the group"
)

// env is what is known of a packet at one point of the program.
type env map[ref]value

func (e env) with(r ref, v value) env {
	e = maps.Clone(e)
	e[r] = v
	return e
}

// get returns what is known of a field. A header's fields are unknown, and the
// program's own begin as zero (BMv2 sees to that).
func (p *program) get(e env, r ref) value {
	if v, ok := e[r]; ok {
		return v
	}
	if r.field == "$valid$" || r.field == "$used$" || p.metadata[r.header] && r.header != "standard_metadata" {
		return num(0)
	}
	switch r {
	case egressSpec, multicast, instanceType:
		return num(0)
	case ingressPort:
		return sym(inPort)
	}
	return value{}
}

var (
	ingressPort = ref{"standard_metadata", "ingress_port"}
	egressSpec  = ref{"standard_metadata", "egress_spec"}
	egressPort  = ref{"standard_metadata", "egress_port"}
	multicast   = ref{"standard_metadata", "mcast_grp"}

	instanceType = ref{"standard_metadata", "instance_type"}
)

// The instance_type of a packet that is a copy, by a clone session or a multicast
// group (behavioral-model, docs/simple_switch.md).
const (
	cloned     = 1
	replicated = 5
)

// eval works an operand out, as far as it can be.
func (p *program) eval(o *operand, e env, args []value) value {
	if o == nil {
		return value{}
	}
	switch o.kind {
	case "field":
		return p.get(e, o.field)
	case "hexstr", "bool":
		return num(o.n)
	case "runtime_data":
		if o.at >= 0 && o.at < len(args) {
			return args[o.at]
		}
		return value{}
	case "expression":
	default:
		return value{}
	}
	l, r := p.eval(o.left, e, args), p.eval(o.right, e, args)
	known := l.kind == number && r.kind == number
	yes := func(b bool) value {
		if b {
			return num(1)
		}
		return num(0)
	}
	switch o.op {
	case "d2b", "b2d":
		return r
	case "not":
		if r.kind == number {
			return yes(r.n == 0)
		}
	case "and":
		switch {
		case l.is(0) || r.is(0):
			return num(0)
		case known:
			return num(1)
		}
	case "or":
		switch {
		case l.kind == number && l.n != 0 || r.kind == number && r.n != 0:
			return num(1)
		case known:
			return num(0)
		}
	case "==", "!=":
		if eq, sure := equal(l, r); sure {
			return yes(eq == (o.op == "=="))
		}
	case "<":
		if known {
			return yes(l.n < r.n)
		}
	case ">":
		if known {
			return yes(l.n > r.n)
		}
	case "&":
		switch {
		case known:
			return num(l.n & r.n)
		case l.is(0) || r.is(0):
			return num(0)
		case r.kind == number && r.n&(r.n+1) == 0 && r.n >= 0x1ff: // a cast of something as wide as a port
			return l
		}
	case "|":
		if known {
			return num(l.n | r.n)
		}
	case "+":
		if known {
			return num(l.n + r.n)
		}
	case "-":
		if known {
			return num(l.n - r.n)
		}
	case "*":
		if known {
			return num(l.n * r.n)
		}
	case "<<":
		if known && r.n < 64 {
			return num(l.n << r.n)
		}
	case ">>":
		if known && r.n < 64 {
			return num(l.n >> r.n)
		}
	}
	return value{}
}

// equal compares two values; sure is false where it can't be known. A symbol
// stands for a front-panel port or something that only the mapping fills in: it
// is no number that the program knows.
func equal(l, r value) (eq, sure bool) {
	switch {
	case l.kind == unknown || r.kind == unknown:
		return false, false
	case l.kind == symbol && r.kind == symbol && l != r && (l.name == aMember || r.name == aMember):
		return false, false // a flood reaches the port that it came from, or not
	}
	return l == r, true
}
