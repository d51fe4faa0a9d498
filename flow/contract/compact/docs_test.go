package compact

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

// document returns what docs/guest-abi.md says of the compact encoding.
func document(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/guest-abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(doc), "## The compact encoding\n")
	if !found {
		t.Fatal("the document doesn't have the encoding")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

func TestDocumentedExample(t *testing.T) {
	_, example, found1 := strings.Cut(document(t), "For example, an event of LLDP")
	_, example, found2 := strings.Cut(example, "\n\n")
	if !found1 || !found2 {
		t.Fatal("no example")
	}
	want, _ := AppendEvent(nil, newEvent(packet(flow.EthTypeLLDP)))
	if got := unhex(t, example); !bytes.Equal(got, want) {
		t.Errorf("documented %x\nwant %x", got, want)
	}
}

// place is a row of a documented table.
type place struct {
	at, size    int // size 0: what follows, of which only the beginning is said
	bit         int // -1: none
	field, what string
}

// small is a number that leaves bytes of its field 0.
type small uint64

// table is one of the document's.
type table struct {
	title  string
	places []place
}

// tableOf reads the table after the paragraph that begins with title.
func tableOf(t *testing.T, title string) table {
	t.Helper()
	_, text, found := strings.Cut(document(t), "\n"+title)
	_, text, found2 := strings.Cut(text, "\n| ")
	text, _, found3 := strings.Cut("| "+text, "\n\n")
	if !found || !found2 || !found3 {
		t.Fatalf("no table %s", title)
	}
	tab := table{title: title}
	var columns []string
	for i, line := range strings.Split(text, "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		switch {
		case i == 0:
			columns = cells
			continue
		case i == 1: // the line below the heads
			continue
		case len(cells) != len(columns):
			t.Fatalf("%s: %q: want %q", title, line, columns)
		}
		p := place{bit: -1}
		for j, cell := range cells {
			number := func() int {
				n, err := strconv.Atoi(cell)
				if err != nil {
					t.Fatalf("%s: %q: %v", title, line, err)
				}
				return n
			}
			switch column := columns[j]; {
			case column == "at":
				p.at = number()
			case column == "field":
				p.field = cell
			case column == "what":
				p.what = cell
			case column == "bytes" && cell != "":
				p.size = number()
			case column == "bit" && cell != "":
				p.bit = number()
			}
		}
		if n := len(tab.places); n > 0 {
			if last := tab.places[n-1]; p.at > last.at && p.at < last.at+last.size {
				t.Errorf("%s: %s at %d is in %s", title, p.field, p.at, last.field)
			}
		}
		tab.places = append(tab.places, p)
	}
	return tab
}

func (tab *table) place(t *testing.T, field string) place {
	t.Helper()
	i := slices.IndexFunc(tab.places, func(p place) bool { return p.field == field })
	if i < 0 {
		t.Fatalf("%s: the document has no %s", tab.title, field)
	}
	return tab.places[i]
}

// length is where what follows begins.
func (tab *table) length(t *testing.T) int {
	t.Helper()
	last := tab.places[len(tab.places)-1]
	if last.size != 0 {
		t.Fatalf("%s: the last row, %s, is not what follows", tab.title, last.field)
	}
	return last.at
}

// put writes a value where the document has its field.
func (tab *table) put(t *testing.T, b []byte, field string, value any) {
	t.Helper()
	p := tab.place(t, field)
	var wire []byte
	exact := false
	switch v := value.(type) {
	case [4]byte:
		wire = v[:] // of an address, which has room for more
	case []byte:
		wire, exact = v, true
	case small:
		wire = bytes.TrimRight(le.AppendUint64(nil, uint64(v)), "\x00")
	case uint64:
		wire, exact = bytes.TrimRight(le.AppendUint64(nil, v), "\x00"), true
	default:
		t.Fatalf("%s: %s: a value of type %T", tab.title, field, value)
	}
	if len(wire) > p.size || exact && len(wire) != p.size || p.at+p.size > len(b) {
		t.Fatalf("%s: %s: %d bytes of %d, documented with %d at %d", tab.title, field, len(wire), len(b), p.size, p.at)
	}
	copy(b[p.at:], wire)
}

// build writes a value in each of the table's fields, of which none may be left out.
func (tab *table) build(t *testing.T, values map[string]any) []byte {
	t.Helper()
	b := make([]byte, tab.length(t))
	for field, value := range values {
		tab.put(t, b, field, value)
	}
	for _, p := range tab.places[:len(tab.places)-1] {
		if _, ok := values[p.field]; !ok {
			t.Errorf("%s: the package has no %s", tab.title, p.field)
		}
	}
	return b
}

// number finds a number in what the document says of a field.
func (tab *table) number(t *testing.T, field, pattern string) uint64 {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(tab.place(t, field).what)
	if found == nil {
		t.Fatalf("%s: %s: the document doesn't say %s", tab.title, field, pattern)
	}
	n, err := strconv.ParseUint(found[1], 0, 8)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// names checks a list of numbers and names against name, which is that of a number or empty.
func (tab *table) names(t *testing.T, field string, name func(uint8) string) {
	t.Helper()
	var documented, want []string
	for _, pair := range strings.Split(tab.place(t, field).what, ", ") {
		number, text, _ := strings.Cut(pair, " ")
		n, err := strconv.ParseUint(number, 0, 8)
		if err != nil {
			t.Errorf("%s: %s: %v", tab.title, field, err)
		}
		documented = append(documented, fmt.Sprint(n, " ", text))
	}
	for n := range 256 {
		if s := name(uint8(n)); s != "" {
			want = append(want, fmt.Sprint(n, " ", s))
		}
	}
	if !slices.Equal(documented, want) {
		t.Errorf("%s: %s: documented %q\nwant %q", tab.title, field, documented, want)
	}
}

// same compares what is documented with what is written.
func (tab *table) same(t *testing.T, documented, written []byte) {
	t.Helper()
	if !bytes.Equal(documented, written) {
		t.Errorf("%s: documented %x\nwritten %x", tab.title, documented, written)
	}
}

// pattern is n bytes of which no two are the same, nor 0.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(0x11 + i)
	}
	return b
}

// TestDocumentedMatch has a match of each field alone, and writes what the document says of it.
func TestDocumentedMatch(t *testing.T) {
	tab := tableOf(t, "Match, ")
	sizes := regexp.MustCompile(`Match, (\d+) bytes, or (\d+) where it has a field from byte (\d+) on`).FindStringSubmatch(document(t))
	if sizes == nil {
		t.Fatal("the document doesn't say how long a match is")
	}
	if got, want := fmt.Sprint(sizes[1:]), fmt.Sprint([]int{narrow, wide, narrow}); got != want {
		t.Errorf("sizes %s, want %s", got, want)
	}
	mac := flow.MAC(pattern(6))
	v4, v6 := netip.AddrFrom4([4]byte(pattern(4))), netip.AddrFrom16([16]byte(pattern(16)))
	whole := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	type value struct {
		set     func(*flow.Match)
		written any
		ipv4    string // who is IPv4, where anybody is
	}
	address := func(set func(*flow.Match, netip.Prefix), who string) []value {
		return []value{
			{func(m *flow.Match) { set(m, whole(v4)) }, v4.As4(), who},
			{func(m *flow.Match) { set(m, whole(v6)) }, pattern(16), ""},
		}
	}
	one := func(written any, set func(*flow.Match)) []value { return []value{{set: set, written: written}} }
	values := map[flow.Field][]value{}
	for i := range flow.Fields {
		x := &flow.Fields[i]
		if x.Compact == 0 {
			continue
		}
		number := uint64(0x8877665544332211) & x.Ones()
		var written any = number
		if x.Kind == flow.Number32 {
			written = small(number)
		}
		switch x.Kind {
		case flow.Address, flow.MaskedMAC:
			values[x.Field] = one(mac[:], func(m *flow.Match) { x.SetMAC(m, mac, flow.MACExact) })
		case flow.Prefix:
			list := address(func(m *flow.Match, p netip.Prefix) { x.SetPrefix(m, p) }, map[uint8]string{40: "source", 56: "destination"}[x.Compact])
			if x.Need == flow.NeedARP {
				list = list[:1]
			}
			values[x.Field] = list
		case flow.IPv6:
			values[x.Field] = one(pattern(16), func(m *flow.Match) { x.SetAddr(m, v6) })
		default:
			values[x.Field] = one(written, func(m *flow.Match) { x.SetNumber(m, number, x.Ones()) })
		}
	}
	documented := map[string]bool{"fields": true, "ipv4": true}
	for field, list := range values {
		name := field.String()
		p := tab.place(t, name)
		documented[name] = true
		if field != 1<<p.bit {
			t.Errorf("%s: documented as bit %d, it is %#x", name, p.bit, uint32(field))
		}
		for _, v := range list {
			m := flow.Match{}
			v.set(&m)
			m.Fields = field
			written, ok := appendMatch(nil, &m)
			if !ok {
				t.Fatalf("%s doesn't fit", name)
			}
			want := make([]byte, narrow)
			if p.at >= narrow {
				want = make([]byte, wide)
			}
			tab.put(t, want, "fields", small(field))
			tab.put(t, want, name, v.written)
			if v.ipv4 != "" {
				tab.put(t, want, "ipv4", small(1)<<tab.number(t, "ipv4", `bit (\d): the `+v.ipv4))
			}
			tab.same(t, want, written)
		}
	}
	for _, p := range tab.places {
		if !documented[p.field] {
			t.Errorf("Match: the package has no %s", p.field)
		}
	}
}

func TestDocumentedEvent(t *testing.T) {
	tab := tableOf(t, "Event:")
	tab.names(t, "protocol", func(n uint8) string {
		if p, err := flow.ParseProtocol(flow.Protocol(n).String()); err != nil || p != flow.Protocol(n) {
			return ""
		}
		return flow.Protocol(n).String()
	})
	ev := newEvent(flow.Match{})
	ev.Switch.DPID, ev.Switch.Protocol, ev.PacketIn.Incomplete = 0x8877665544332211, flow.P4Runtime, 0x44332211
	ev.PacketIn.Data = []byte{1}
	ev.Accepts = flow.AcceptsReuse
	written, ok := AppendEvent(nil, ev)
	if !ok {
		t.Fatal("doesn't fit")
	}
	tab.same(t, tab.build(t, map[string]any{
		"version": tab.number(t, "version", `^(\d+)$`), "protocol": uint64(flow.P4Runtime), "states": small(0), "dpid": uint64(0x8877665544332211),
		"incomplete": uint64(0x44332211), "withheld": tab.number(t, "withheld", `^(\d+): there are bytes`) + tab.number(t, "withheld", `(\d+) more: the gateway accepts`),
	}), written[:len(written)-narrow])
}

func TestDocumentedStates(t *testing.T) {
	tab, event := tableOf(t, "States, "), tableOf(t, "Event:")
	ev := newEvent(tcp4())
	ev.Time, ev.ID = time.Unix(0, 0x7877665544332211), strings.Repeat("x", 0x123)
	ev.PacketIn.TCPFlags, ev.PacketIn.HasTCPFlags = 0x99, true
	ev.States = []flow.State{{Data: []byte("state")}, {}}
	written, ok := AppendEvent(nil, ev)
	if !ok {
		t.Fatal("doesn't fit")
	}
	if n := written[event.place(t, "states").at]; n != 2 {
		t.Errorf("states: written %d, want 2", n)
	}
	want := tab.build(t, map[string]any{"time": uint64(0x7877665544332211), "id": uint64(0x123), "tcp_flags": uint64(0x99),
		"seen": tab.number(t, "seen", `^(\d+): tcp_flags`)})
	want = append(want, ev.ID...)
	tab.same(t, append(want, "\x05\x00\x00\x00state\x00\x00\x00\x00"...), written[eventHeader+narrow:])
}

func TestDocumentedChange(t *testing.T) {
	tab := tableOf(t, "Change of a state:")
	c := flow.StateChange{Index: 0x7f, Data: make([]byte, 0x123), TTL: 0x7877665544332211}
	written, ok := appendChange(nil, &c)
	if !ok {
		t.Fatal("doesn't fit")
	}
	tab.same(t, append(tab.build(t, map[string]any{"index": small(0x7f), "length": small(0x123), "ttl": uint64(0x7877665544332211)}), c.Data...), written)
}

func verdictName(n uint8) string {
	if flow.Verdict(n) > flow.Deny {
		return ""
	}
	return flow.Verdict(n).String()
}

func TestDocumentedDecision(t *testing.T) {
	tab := tableOf(t, "Decision:")
	tab.names(t, "verdict", verdictName)
	d := flow.Decision{
		Verdict: flow.Deny, Reason: strings.Repeat("x", 0x123), Policy: flow.PolicyVersion{Serial: 0x8877665544332211, Hash: 0x44332211},
		Rules: []flow.Rule{rule(flow.Match{}), rule(flow.Match{})}, HasPacketOut: true, PacketOut: make([]flow.Action, 3),
		IfReply: &flow.Reply{HasPacketOut: true, Reason: "y"},
		Reuse:   flow.Reuse{For: time.Second, Reply: &flow.Reply{HasPacketOut: true, Reason: "z"}},
	}
	for i := range d.PacketOut {
		d.PacketOut[i] = flow.OutputTo(1)
	}
	written, ok := AppendDecision(nil, &d)
	if !ok {
		t.Fatal("doesn't fit")
	}
	header := tab.build(t, map[string]any{
		"form": tab.number(t, "form", `^(\d+): a decision in full`), "verdict": uint64(flow.Deny), "own": tab.number(t, "own", `^(\d+): the packet has its own`),
		"rules": uint64(2), "actions": uint64(3), "parts": uint64(1) << tab.number(t, "parts", `bit (\d): a second decision`), "reuse": tab.number(t, "reuse", `(\d+): and says`), "serial": d.Policy.Serial, "hash": uint64(d.Policy.Hash), "length": small(0x123),
	})
	tab.same(t, header, written[:min(len(header), len(written))])
	second := written[len(written)-2*(decisionHeader+1)-reuseSize:]
	for reason, b := range map[byte][]byte{'y': second, 'z': second[decisionHeader+1+reuseSize:]} {
		if b[0] != version || b[2] != 1 || b[5] != 0 || b[6] != 0 || b[decisionHeader] != reason {
			t.Errorf("the decision for a reply: %x", b)
		}
	}
	d.Reuse.Reply = nil
	if written, _ = AppendDecision(nil, &d); uint64(written[tab.place(t, "reuse").at]) != tab.number(t, "reuse", `(\d+): it holds`) {
		t.Errorf("without a reply: %x", written)
	}
	d.Reuse, d.Reject = flow.Reuse{}, true
	d.IfReply = nil
	if written, _ = AppendDecision(nil, &d); uint64(written[tab.place(t, "parts").at]) != 1<<tab.number(t, "parts", `bit (\d): the sender is told`) {
		t.Errorf("of a sender that is told: %x", written)
	}
	d.Reject, d.Log = false, true
	if written, _ = AppendDecision(nil, &d); uint64(written[tab.place(t, "parts").at]) != 1<<tab.number(t, "parts", `bit (\d): the decision is for the log`) {
		t.Errorf("for the log: %x", written)
	}
	d.Log = false
	d.IfReply, d.Change = nil, &flow.StateChange{}
	if written, _ = AppendDecision(nil, &d); uint64(written[tab.place(t, "parts").at]) != 1<<tab.number(t, "parts", `bit (\d): a state changes`) {
		t.Errorf("with a change: %x", written)
	}
	d.HasPacketOut, d.PacketOut, d.Change = false, nil, nil
	if written, _ = AppendDecision(nil, &d); uint64(written[tab.place(t, "own").at]) != tab.number(t, "own", `(\d+): those of the rules`) {
		t.Errorf("without actions of its own: %x", written)
	}
}

func TestDocumentedRule(t *testing.T) {
	tab, actions := tableOf(t, "Rule, "), tableOf(t, "Action:")
	r := flow.Rule{
		Priority: 0x2211, IdleTimeout: 0x4433 * time.Second, HardTimeout: 0x6655 * time.Second, Flags: 0x8877, BufferID: flow.NoBuffer, CoversIncomplete: true,
		Table: 0x99, Goto: 0xaa, Meter: 0x44332211, Actions: []flow.Action{flow.OutputTo(1), flow.OutputTo(2)},
	}
	written, ok := appendRule(nil, &r)
	if !ok {
		t.Fatal("doesn't fit")
	}
	want := tab.build(t, map[string]any{
		"priority": uint64(0x2211), "idle_timeout": uint64(0x4433), "hard_timeout": uint64(0x6655), "flags": uint64(0x8877),
		"table": uint64(0x99), "goto": uint64(0xaa), "actions": uint64(2), "meter": uint64(0x44332211),
		"covers": tab.number(t, "covers", `^(\d+): the rule is made`),
	})
	want = append(want, make([]byte, narrow)...)
	for _, a := range r.Actions {
		want = append(want, actions.build(t, map[string]any{"type": uint64(flow.Output), "ip_proto": small(0), "max_len": small(0), "value": small(a.Port)})...)
	}
	tab.same(t, want, written)
	r.CoversIncomplete = false
	if written, _ = appendRule(nil, &r); uint64(written[tab.place(t, "covers").at]) != tab.number(t, "covers", `(\d+): it is not`) {
		t.Errorf("a rule that covers no incomplete packet: %x", written)
	}
}

func TestDocumentedAction(t *testing.T) {
	tab := tableOf(t, "Action:")
	tab.names(t, "type", func(n uint8) string {
		if _, ok := appendActions(nil, []flow.Action{{Type: flow.ActionType(n)}}); !ok {
			return ""
		}
		return flow.ActionType(n).String()
	})
	for _, a := range []flow.Action{
		{Type: flow.Output, Port: 0x44332211}, {Type: flow.SetL4Src, Value: 0x44332211},
	} {
		a.IPProto, a.MaxLen = 0x55, 0x7766
		written, ok := appendActions(nil, []flow.Action{a})
		if !ok {
			t.Fatalf("%v doesn't fit", a)
		}
		tab.same(t, tab.build(t, map[string]any{
			"type": uint64(a.Type), "ip_proto": uint64(0x55), "max_len": uint64(0x7766), "value": uint64(0x44332211)}), written)
	}
}

func TestDocumentedJudgement(t *testing.T) {
	tab := tableOf(t, "Judgement, ")
	tab.names(t, "verdict", verdictName)
	j := flow.Judgement{
		Verdict: flow.Deny, Reason: strings.Repeat("x", 0x123), Policy: flow.PolicyVersion{Serial: 0x8877665544332211, Hash: 0x44332211},
		Rule: true, Fields: 0x44332211, Priority: 0x2211, Table: 0x33, IdleTimeout: 0x4433 * time.Second, HardTimeout: 0x6655 * time.Second,
		Reuse:  flow.Reuse{For: 33 * time.Second, Fields: 0x332211 & flow.AllFields, Switch: true},
		Effect: flow.Effect{Meter: 0x77665544, Goto: 0x88, Actions: []flow.Action{flow.OutputTo(1), flow.OutputTo(2)}},
	}
	written, ok := AppendJudgement(nil, &j)
	if !ok {
		t.Fatal("doesn't fit")
	}
	header := tab.build(t, map[string]any{
		"form": tab.number(t, "form", `^(\d+): a judgement`), "verdict": uint64(flow.Deny), "rule": tab.number(t, "rule", `^(\d+): a rule`),
		"actions": uint64(2), "table": uint64(0x33), "goto": uint64(0x88), "priority": uint64(0x2211), "fields": uint64(0x44332211),
		"meter": uint64(0x77665544), "idle_timeout": uint64(0x4433), "hard_timeout": uint64(0x6655), "length": small(0x123),
		"serial": j.Policy.Serial, "hash": uint64(j.Policy.Hash),
		"reuse": small(uint64(j.Reuse.Fields) | 1<<tab.number(t, "reuse", `(\d+) the switch`) | 33<<tab.number(t, "reuse", `(\d+) to 63 the seconds`)),
	})
	tab.same(t, header, written[:min(len(header), len(written))])
	if want := len(header) + 2*actionLen + len(j.Reason); len(written) != want {
		t.Errorf("%d bytes, documented %d", len(written), want)
	}
	j.CoversIncomplete = true
	if written, _ = AppendJudgement(nil, &j); uint64(written[tab.place(t, "rule").at]) != tab.number(t, "rule", `(\d+): a rule that is made`) {
		t.Errorf("a rule that covers incomplete packets: %x", written)
	}
	j.Rule, j.CoversIncomplete = false, false
	if written, _ = AppendJudgement(nil, &j); uint64(written[tab.place(t, "rule").at]) != tab.number(t, "rule", `(\d+): this packet alone`) {
		t.Errorf("without a rule: %x", written)
	}
	j.Change = &flow.StateChange{}
	if written, _ = AppendJudgement(nil, &j); uint64(written[tab.place(t, "rule").at]) != tab.number(t, "rule", `(\d+) more: a state changes`) {
		t.Errorf("with a change: %x", written)
	}
	j.Change, j.Reject = nil, true
	if written, _ = AppendJudgement(nil, &j); uint64(written[tab.place(t, "rule").at]) != tab.number(t, "rule", `(\d+) more: the sender is told`) {
		t.Errorf("of a sender that is told: %x", written)
	}
	j.Reject, j.Log = false, true
	if written, _ = AppendJudgement(nil, &j); uint64(written[tab.place(t, "rule").at]) != tab.number(t, "rule", `(\d+) more: the decision is for the log`) {
		t.Errorf("for the log: %x", written)
	}
}
