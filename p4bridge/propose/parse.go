package propose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	"switchbridge/flow"
)

// layer is a header as standards have it: where its fields lie, in bits, under
// their OXM names, and what follows it.
type layer struct {
	fields []place
	width  int
	then   string // "": the parser chooses
}

type place struct {
	at, width int
	oxm       string
}

var layers = map[string]layer{
	"ethernet": {[]place{{0, 48, "eth_dst"}, {48, 48, "eth_src"}}, 96, "type"},
	"type":     {[]place{{0, 16, "eth_type"}}, 16, ""},
	"tag":      {[]place{{0, 3, "vlan_pcp"}, {4, 12, "vlan_vid"}}, 16, "type"},
	"tag2":     {nil, 16, "type"},
	"arp": {[]place{{48, 16, "arp_op"}, {64, 48, "arp_sha"}, {112, 32, "arp_spa"}, {144, 48, "arp_tha"}, {192, 32, "arp_tpa"}},
		224, ""},
	"ipv4": {[]place{{0, 8, versionIHL}, {4, 4, ihl}, {48, 16, flagsOffset}, {51, 13, fragOffset}, {8, 8, typeOfService}, {8, 6, "ip_dscp"}, {14, 2, "ip_ecn"}, {72, 8, "ip_proto"}, {96, 32, "ipv4_src"}, {128, 32, "ipv4_dst"}}, 160, ""},
	"ipv6": {[]place{{4, 8, typeOfService}, {4, 6, "ip_dscp"}, {10, 2, "ip_ecn"}, {12, 20, "ipv6_flabel"}, {48, 8, "ip_proto"}, {64, 128, "ipv6_src"}, {192, 128, "ipv6_dst"}},
		320, ""},
	"tcp":    {[]place{{0, 16, "tcp_src"}, {16, 16, "tcp_dst"}}, 160, ""},
	"udp":    {[]place{{0, 16, "udp_src"}, {16, 16, "udp_dst"}}, 64, ""},
	"sctp":   {[]place{{0, 16, "sctp_src"}, {16, 16, "sctp_dst"}}, 96, ""},
	"icmp":   {[]place{{0, 8, "icmpv4_type"}, {8, 8, "icmpv4_code"}}, 32, ""},
	"icmpv6": {[]place{{0, 8, "icmpv6_type"}, {8, 8, "icmpv6_code"}}, 32, ""},
}

// What no rule says, but a parser should look at before it takes what follows for
// a protocol's ports.
const (
	versionIHL  = "(version and header length)"
	ihl         = "(header length)"
	flagsOffset = "(flags and fragment offset)"
	fragOffset  = "(fragment offset)"
)

// guarded are these fields: where in them the bits are that decide, and what those are in a packet whose ports lie behind 20 bytes of IPv4.
var guarded = map[string]struct{ bits, good uint64 }{
	versionIHL: {0xf, 5}, ihl: {0xf, 5}, flagsOffset: {0x1fff, 0}, fragOffset: {0x1fff, 0},
}

// settle notes that nothing of a guarded field but what is good comes here.
func (pk *packet) settle(oxm string) {
	switch oxm {
	case ihl, versionIHL:
		pk.plain = true
	case fragOffset, flagsOffset:
		pk.first = true
	}
}

// typeOfService is both ip_dscp and ip_ecn.
const typeOfService = "(type of service)"

// after says which layer a value of a field announces.
var after = map[string]map[uint64]string{
	"eth_type": {flow.EthTypeIPv4: "ipv4", flow.EthTypeIPv6: "ipv6", flow.EthTypeARP: "arp", 0x8100: "tag", 0x88a8: "tag", 0x9100: "tag"},
	"ip_proto": {flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoSCTP: "sctp", flow.ProtoICMP: "icmp", flow.ProtoICMPv6: "icmpv6"},
}

// behindIP are the layers that IP's protocol announces.
var behindIP = map[string]bool{"tcp": true, "udp": true, "sctp": true, "icmp": true, "icmpv6": true}

// cursor is how far into a packet the parser is.
type cursor struct {
	layer string // "": not known
	at    int    // bits into it
	next  string // what the parser has chosen to come after it
}

// packet is one of the kinds of packets that the parser tells apart.
type packet struct {
	env     env
	kind    string // such as "IPv4 TCP", for people
	ethType uint64 // 0: not told
	proto   uint64
	tagged  bool
	fromCPU bool

	plain bool // an IPv4 header without options, or one whose options are stepped over
	first bool // no later fragment
	ports bool // the parser has taken a header of TCP's, UDP's, SCTP's or ICMP's
}

// maxPackets and maxStates bound the ways through a parser that are followed.
const (
	maxPackets = 4096
	maxStates  = 1 << 17
)

// walker follows the parser.
type walker struct {
	p       *program
	meaning map[ref][]string  // the OXM names of what a field holds
	layer   map[string]string // header's name -> the layer that it begins in
	flags   map[ref][]flag
	packets []packet
	states  int             // visited
	loose   map[string]bool // IPv4 packets whose ports are taken from elsewhere
	cut     bool            // not all ways were followed

	checked map[*json.RawMessage]map[string]bool // what a check in the parser lets through, of the guarded fields
}

// flag is a number that the parser puts into a field of the program's own for
// packets of one EtherType.
type flag struct {
	value   uint64
	ethType uint64
}

func (w *walker) means(r ref, oxm string) {
	if oxm == typeOfService {
		w.means(r, "ip_dscp")
		oxm = "ip_ecn"
	}
	if oxm != "" && !slices.Contains(w.meaning[r], oxm) {
		w.meaning[r] = append(w.meaning[r], oxm)
	}
}

// advance moves a cursor over bits, and returns the field that was there if it is
// one of exactly these bits.
func (c *cursor) advance(width int) (oxm string) {
	for c.layer != "" && c.at >= layers[c.layer].width {
		c.at -= layers[c.layer].width
		c.layer, c.next = orThen(c.next, layers[c.layer].then), ""
	}
	if c.layer == "" {
		return ""
	}
	for _, f := range layers[c.layer].fields {
		if f.at == c.at && f.width == width {
			oxm = f.oxm
		}
	}
	c.at += width
	return oxm
}

func orThen(next, then string) string {
	if next != "" {
		return next
	}
	return then
}

// parser follows every way through the parser, from the front panel or, where the
// program tells those apart, from the CPU port.
func (w *walker) parser(cpu uint64, fromCPU bool) {
	e := env{}
	if fromCPU {
		e[ingressPort] = num(cpu)
	}
	c := cursor{layer: "ethernet"}
	if fromCPU {
		c = cursor{}
	}
	w.state(w.p.Parsers[0].Init, packet{env: e, fromCPU: fromCPU}, c, map[string]int{})
}

func (w *walker) state(name string, pk packet, c cursor, visits map[string]int) {
	s := w.p.states[name]
	if s == nil || visits[name] > w.p.rounds {
		w.done(pk)
		return
	}
	if w.states++; len(w.packets) >= maxPackets || w.states > maxStates {
		w.cut = true
		return
	}
	visits = maps.Clone(visits)
	visits[name]++
	pk.env = maps.Clone(pk.env)
	for _, op := range s.Ops {
		if !w.op(op.Op, op.Params, &pk, &c) {
			w.done(pk)
			return
		}
	}
	seen := map[string]bool{}
	values := make([]value, len(s.Key))
	oxms := make([]string, len(s.Key))
	key := slices.Clone(s.Key)
	for i := range key {
		k := &key[i]
		if k.kind == "lookahead" {
			ahead := c
			ahead.advance(k.at)
			oxms[i] = ahead.advance(int(k.n))
			continue
		}
		*k = w.p.last(k, pk.env)
		values[i] = w.p.eval(k, pk.env, nil)
		if k.kind == "field" {
			oxms[i] = one(w.meaning[k.field])
		}
	}
	for _, t := range s.Transitions {
		var text string
		if json.Unmarshal(t.Value, &text) != nil || text == "default" || t.Type == "default" {
			w.state(t.Next, pk, c, visits)
			break
		}
		facts, may, must := w.matches(key, values, text, t.Mask)
		if !may {
			continue
		}
		next, nc := pk, c
		next.env = maps.Clone(pk.env)
		for i, f := range facts {
			if f.whole && key[i].kind == "field" {
				next.env[key[i].field] = num(f.n)
			}
			next.choose(&nc, oxms[i], f)
		}
		id := fmt.Sprint(t.Next, nc, next.ethType, next.proto, next.plain, next.first)
		if !seen[id] { // ranges become many numbers with one next state
			seen[id] = true
			w.state(t.Next, next, nc, visits)
		}
		if must {
			return
		}
	}
	if len(s.Transitions) == 0 {
		w.done(pk)
	}
}

func one(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return ""
}

// fact is what a transition says about a part of its key: what some of its bits are, or all of them.
type fact struct {
	n, mask uint64
	whole   bool
}

// choose notes what a value of the packet says about what follows.
func (pk *packet) choose(c *cursor, oxm string, f fact) {
	if g, ok := guarded[oxm]; ok {
		if f.mask&g.bits == g.bits && f.n&g.bits == g.good {
			pk.settle(oxm)
		}
		return
	}
	n := f.n
	switch {
	case !f.whole:
		return
	case oxm == "eth_type":
		pk.ethType = n
	case oxm == "ip_proto":
		pk.proto = n
	default:
		return
	}
	next := after[oxm][n]
	if next == "tag" {
		if pk.tagged {
			next = "tag2"
		}
		pk.tagged, pk.ethType = true, 0
	}
	if c.layer == "" { // behind options, say
		*c = cursor{layer: next}
		return
	}
	if l := layers[c.layer]; c.at >= l.width && l.then != "" { // the parser looked ahead
		*c = cursor{layer: l.then, at: c.at - l.width}
	}
	c.next = next
}

// matches compares a transition's number with the key's fields, each of which
// takes whole bytes of it, as far as the transition's mask says.
func (w *walker) matches(key []operand, values []value, text string, mask *string) (facts []fact, may, must bool) {
	may, must = true, true
	rest, masks := strings.TrimPrefix(text, "0x"), ""
	if mask != nil {
		masks = strings.TrimPrefix(*mask, "0x")
	}
	for i := len(key) - 1; i >= 0; i-- {
		width := int(key[i].n)
		if key[i].kind == "field" {
			width = w.p.width(key[i].field)
		}
		take := func(digits *string) (uint64, error) {
			at := len(*digits) - min((width+7)/8*2, len(*digits))
			n, err := hex((*digits)[at:])
			*digits = (*digits)[:at]
			return n, err
		}
		all := ^uint64(0)
		if width < 64 {
			all = 1<<width - 1
		}
		f := fact{mask: all}
		n, err := take(&rest)
		if mask != nil {
			m, maskErr := take(&masks)
			f.mask, err = m&all, cmp.Or(err, maskErr)
		}
		f.n, f.whole = n&f.mask, err == nil && f.mask == all
		if err != nil {
			f.mask = 0
		}
		facts = append(facts, f)
		switch {
		case err == nil && f.mask == 0: // it is not looked at
		case err != nil || values[i].kind != number:
			must = false
			if values[i].kind == symbol && f.whole { // a front-panel port is not the CPU's
				may = false
			}
		case values[i].n&f.mask != f.n:
			may = false
		}
	}
	slices.Reverse(facts)
	return facts, may, must
}

// op carries out an operation of the parser's; false: it ends the parser, as BMv2 does where an array of headers is full.
func (w *walker) op(op string, params []json.RawMessage, pk *packet, c *cursor) bool {
	ops := make([]operand, len(params))
	for i := range params {
		if op != "primitive" {
			_ = json.Unmarshal(params[i], &ops[i]) // a kind that is not followed
		}
	}
	switch {
	case op == "extract" && len(ops) == 1 && (ops[0].kind == "regular" || ops[0].kind == "stack"):
		h := ops[0].name
		if ops[0].kind == "stack" {
			n := w.p.get(pk.env, used(h))
			if n.kind != number || n.n >= uint64(len(w.p.stacks[h])) {
				return false
			}
			pk.env[used(h)] = num(n.n + 1)
			h = w.p.stacks[h][n.n]
		}
		pk.env[valid(h)] = num(1)
		if c.advance(0); c.layer != "" {
			w.layer[h] = c.layer
			pk.ports = pk.ports || behindIP[c.layer]
		}
		for _, m := range w.p.layout[h] {
			w.means(ref{h, m.name}, c.advance(m.width))
		}
	case op == "extract_VL" && len(ops) == 2 && ops[0].kind == "regular":
		pk.env[valid(ops[0].name)] = num(1)
		w.skip(&ops[1], pk, c)
	case op == "extract" || op == "extract_VL":
		*c = cursor{}
	case op == "advance" && len(ops) == 1 && ops[0].kind == "hexstr":
		c.advance(int(min(ops[0].n, 1<<20)))
	case op == "advance" && len(ops) == 1:
		w.skip(&ops[0], pk, c)
	case op == "verify" && len(ops) > 0:
		w.done(*pk) // what is refused goes on to the tables, with the headers that it has so far
		w.verify(&params[0], &ops[0], pk)
	case op == "set" && len(ops) == 2 && ops[0].kind == "field":
		to := ops[0].field
		from := w.p.last(&ops[1], pk.env)
		switch src := w.p.plain(&from); {
		case from.kind == "lookahead":
			ahead := *c
			ahead.advance(from.at)
			w.means(to, ahead.advance(int(from.n)))
			pk.ports = pk.ports || behindIP[ahead.layer]
			pk.env[to] = value{}
		case src != nil:
			w.copies(to, src)
			pk.env[to] = w.p.eval(&from, pk.env, nil)
		default:
			v := w.p.eval(&from, pk.env, nil)
			pk.env[to] = v
			if v.kind == number && v.n != 0 {
				w.flags[to] = append(w.flags[to], flag{v.n, pk.ethType})
			}
		}
	case op == "primitive" && len(params) == 1:
		var inner primitive
		if json.Unmarshal(params[0], &inner) == nil && len(inner.Params) > 0 && inner.Params[0].kind == "field" {
			pk.env[inner.Params[0].field] = value{}
		}
	}
	return true
}

// skip is a step over so many bits as an expression says. Where that is what IPv4's options are long, the
// ports are behind it, and else nobody knows what is.
func (w *walker) skip(by *operand, pk *packet, c *cursor) {
	if c.layer == "ipv4" {
		for r, oxms := range w.meaning {
			if g, ok := guarded[one(oxms)]; ok && g.good == 5 && w.always(by, r, func(n uint64) (want uint64, looked bool) { return (n&0xf - 5) * 32, n&0xf >= 5 }) {
				pk.plain = true
				return
			}
		}
	}
	*c = cursor{}
}

// always reports whether an expression has the value that want says, for each number that a field can be and that is looked at.
func (w *walker) always(o *operand, r ref, want func(n uint64) (value uint64, looked bool)) bool {
	width := w.p.width(r)
	if width > 16 {
		return false
	}
	for n := range uint64(1) << width {
		if v, looked := want(n); looked && !w.p.eval(o, env{r: num(n)}, nil).is(v) {
			return false
		}
	}
	return true
}

// verify notes what a check in the parser lets through of the guarded fields.
func (w *walker) verify(where *json.RawMessage, check *operand, pk *packet) {
	only := w.checked[where]
	if only == nil {
		only = map[string]bool{}
		for r, oxms := range w.meaning {
			if g, ok := guarded[one(oxms)]; ok && w.always(check, r, func(n uint64) (uint64, bool) { return 0, n&g.bits != g.good }) {
				only[one(oxms)] = true
			}
		}
		w.checked[where] = only
	}
	for oxm := range only {
		pk.settle(oxm)
	}
}

// copied is what a value is made of: so many low bits of one field, with some
// bits added above or around them that are always one.
type copied struct {
	field ref
	bits  int
	add   uint64
}

// plain says which field an operand is a copy of, through casts and
// concatenations with constants; nil: it is none.
func (p *program) plain(o *operand) *copied {
	if o == nil {
		return nil
	}
	if o.kind == "field" {
		return &copied{field: o.field, bits: p.width(o.field)}
	}
	if o.kind != "expression" {
		return nil
	}
	constant := func(o *operand) (uint64, bool) {
		v := p.eval(o, nil, nil)
		return v.n, v.kind == number
	}
	switch o.op {
	case "b2d", "d2b":
		return p.plain(o.right)
	case "&":
		if n, ok := constant(o.right); ok && n&(n+1) == 0 {
			if c := p.plain(o.left); c != nil {
				if n != ^uint64(0) {
					c.bits, c.add = min(c.bits, bits.Len64(n)), c.add&n
				}
				return c
			}
		}
	case ">>":
		if n, ok := constant(o.right); ok && n == 0 {
			return p.plain(o.left)
		}
	case "|":
		for _, x := range [][2]*operand{{o.left, o.right}, {o.right, o.left}} {
			if n, ok := constant(x[0]); ok {
				if c := p.plain(x[1]); c != nil {
					c.add |= n
					return c
				}
			}
		}
	}
	return nil
}

// copies says what a copy of a field means: what the field does, if no bit of that
// is lost and none added but the one by which OpenFlow knows a VLAN tag.
func (w *walker) copies(to ref, c *copied) {
	list := w.meaning[c.field]
	least := 0
	if slices.Contains(list, "ip_dscp") && slices.Contains(list, "ip_ecn") {
		least = w.p.width(c.field) // the two are parts of it, and neither is its low bits alone
	}
	for _, oxm := range list {
		if c.bits >= max(least, leastBits(oxm)) && (c.add == 0 || oxm == "vlan_vid" && c.add == uint64(flow.VLANPresent)) {
			w.means(to, oxm)
		}
	}
}

func (w *walker) done(pk packet) {
	if pk.ports && pk.ethType == flow.EthTypeIPv4 {
		w.loose["with options"] = w.loose["with options"] || !pk.plain
		w.loose["that are later fragments"] = w.loose["that are later fragments"] || !pk.first
	}
	pk.kind = kindOf(pk)
	w.packets = append(w.packets, pk)
}

// outer is a packet's kind by its EtherType alone.
func outer(pk *packet) string { return kindOf(packet{ethType: pk.ethType}) }

func kindOf(pk packet) string {
	name := map[uint64]string{flow.EthTypeIPv4: "IPv4", flow.EthTypeIPv6: "IPv6", flow.EthTypeARP: "ARP"}[pk.ethType]
	switch {
	case name == "" && pk.ethType != 0:
		name = fmt.Sprintf("EtherType %#04x", pk.ethType)
	case name == "":
		name = "other EtherTypes"
	}
	if l4 := after["ip_proto"][pk.proto]; l4 != "" {
		name += " " + strings.ToUpper(l4)
	}
	if pk.tagged {
		name += " with a VLAN tag"
	}
	return name
}
