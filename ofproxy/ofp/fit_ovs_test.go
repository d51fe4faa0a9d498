package ofp

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/ovs"
)

// realSwitch is a connection to a bridge of a real Open vSwitch.
type realSwitch struct {
	t    *testing.T
	v    flow.Protocol
	conn net.Conn
	in   *bufio.Reader
}

func dialReal(t *testing.T, s *ovs.Switchd, bridge string, v flow.Protocol) *realSwitch {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.Dir(), bridge+".mgmt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	r := &realSwitch{t: t, v: v, conn: conn, in: bufio.NewReader(conn)}
	r.write(AppendHello(nil, 1, v))
	if h, _ := r.read(); h.Type != TypeHello {
		t.Fatalf("%v in answer to HELLO", h.Type)
	}
	return r
}

func (r *realSwitch) write(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *realSwitch) read() (Header, []byte) {
	r.t.Helper()
	msg := make([]byte, HeaderLen, 256)
	if _, err := io.ReadFull(r.in, msg); err != nil {
		r.t.Fatal(err)
	}
	h, err := ParseHeader(msg)
	if err != nil {
		r.t.Fatal(err)
	}
	msg = slices.Grow(msg, h.Length)[:h.Length]
	if _, err := io.ReadFull(r.in, msg[HeaderLen:]); err != nil {
		r.t.Fatal(err)
	}
	return h, msg
}

// answers are what a switch says to messages, by their xids.
type answers struct {
	refused map[uint32]string
	rules   map[uint32][]FlowStats
}

// ask sends messages and returns when the switch is done with them.
func (r *realSwitch) ask(b []byte) answers {
	r.t.Helper()
	const barrier = 0xbabababa
	r.write(AppendBarrierRequest(b, r.v, barrier))
	a := answers{make(map[uint32]string), make(map[uint32][]FlowStats)}
	for {
		h, msg := r.read()
		switch h.Type {
		case TypeBarrierReply:
			return a
		case TypeEchoRequest:
			r.write(AppendEchoReply(nil, r.v, h.XID, msg[HeaderLen:]))
		case TypeStatsReply:
			if _, err := ParseFlowStatsReply(msg, func(s *FlowStats) error { a.rules[h.XID] = append(a.rules[h.XID], *s); return nil }); err != nil {
				r.t.Fatal(err)
			}
		case TypeError:
			e, err := ParseError(msg)
			if err != nil {
				r.t.Fatal(err)
			}
			a.refused[h.XID] = e.Name
		}
	}
}

// written writes a rule without asking whether it fits; nil where even that fails.
func written(v flow.Protocol, xid uint32, r *flow.Rule) (b []byte) {
	defer func() {
		if recover() != nil {
			b = nil
		}
	}()
	if _, err := fitActions(v, r.Actions, headers{later: true}); err != nil {
		return nil // of an action that has no bytes
	}
	if v == flow.OpenFlow10 {
		if r.Table != 0 || r.Meter != 0 || r.Goto != 0 || r.CookieMask != 0 || r.Match.Fields&^flow.Fields10 != 0 {
			return nil // there is no place for it
		}
		return mustEnd(appendFlowMod10(nil, xid, r, flow.NoBuffer), 0)
	}
	return mustEnd(appendFlowMod13(nil, xid, r, flow.NoBuffer), 0)
}

// TestFitAgainstOpenVSwitch adds rules, and sends packets, to a real Open
// vSwitch: it takes every one that fits, and holds the rule that was meant. How
// many it would have taken of those that don't fit is only logged: it holds them
// otherwise than they were meant, or the specification forbids them.
func TestFitAgainstOpenVSwitch(t *testing.T) {
	s := ovs.Start(t, ovs.Options{})
	s.AddBridge("br0", ovs.Bridge{})
	s.Ofctl("-O", "OpenFlow13", "add-group", "br0", "group_id=1,type=all")
	s.Ofctl("-O", "OpenFlow13", "add-meter", "br0", "meter=1,pktps,band=type=drop,rate=1000")
	for _, v := range []flow.Protocol{v10, v13} {
		t.Run("rules/"+v.String(), func(t *testing.T) { rulesAgainst(t, dialReal(t, s, "br0", v)) })
		t.Run("packets/"+v.String(), func(t *testing.T) { packetsAgainst(t, dialReal(t, s, "br0", v)) })
	}
}

// tally counts what becomes of what fits, and of what doesn't.
type tally struct {
	t                                  *testing.T
	taken, wrong, refused, none, would int
	why                                map[string]int // why what would be taken doesn't fit
}

func (c *tally) add(what any, fit error, written bool, refused string) {
	switch {
	case fit == nil && refused == "":
		c.taken++
	case fit == nil:
		if c.wrong++; c.wrong <= 20 {
			c.t.Errorf("%v fits; Open vSwitch says %s", what, refused)
		}
	case !written:
		c.none++
	case refused != "":
		c.refused++
	default:
		c.would++
		_, reason, _ := strings.Cut(fit.Error(), "express ")
		words := strings.Fields(cmp.Or(reason, fit.Error()))
		c.why[strings.Join(words[:min(3, len(words))], " ")]++
	}
}

// report wants the switch to have refused some, or it may take anything.
func (c *tally) report(refused int) {
	c.t.Logf("fit: %d taken, %d refused; don't fit: %d refused, %d have no bytes, %d would be taken: %v", c.taken, c.wrong, c.refused, c.none, c.would, c.why)
	if c.taken < 1000 || c.refused < refused {
		c.t.Error("too few to tell")
	}
}

func rulesAgainst(t *testing.T, sw *realSwitch) {
	v := sw.v
	d := diceOf(rand.New(rand.NewPCG(7, uint64(v))))
	clear, err := AppendFlowMod(nil, v, 2, &flow.Rule{Command: flow.Delete, Table: tableAll}, flow.NoBuffer)
	if err != nil {
		t.Fatal(err)
	}
	c := tally{t: t, why: make(map[string]int)}
	var rules [100]flow.Rule
	var fit [len(rules)]error
	for range 200 {
		b := []byte(nil)
		wrote := make([]bool, len(rules))
		for i := range rules {
			r := &rules[i]
			*r = d.anyRule()
			xid := uint32(100 + i)
			b = append(b, clear...) // so that no rule overlaps another one
			if fit[i] = Fit(v, r); fit[i] == nil {
				b, _ = AppendFlowMod(b, v, xid, r, flow.NoBuffer)
				b, _ = AppendFlowStatsRequest(b, v, xid, &FlowStatsRequest{Table: tableAll})
			} else if m := written(v, xid, r); m != nil {
				b, wrote[i] = append(b, m...), true
			}
		}
		a := sw.ask(b)
		if why, ok := a.refused[2]; ok {
			t.Fatalf("the delete is refused: %s", why)
		}
		for i := range rules {
			xid := uint32(100 + i)
			c.add(&rules[i], fit[i], wrote[i], a.refused[xid])
			if fit[i] == nil && a.refused[xid] == "" {
				held(t, v, &rules[i], a.rules[xid])
			}
		}
	}
	c.report(50)
}

// held compares a rule to what a switch says it holds.
func held(t *testing.T, v flow.Protocol, r *flow.Rule, found []FlowStats) {
	t.Helper()
	want := said(r.Match)
	if v == v10 {
		want = said10(r.Match)
	}
	if len(found) != 1 || found[0].Rule.Match != want {
		t.Errorf("%v is held as %v", r, found)
		return
	}
	got := &found[0].Rule
	if got.Table != r.Table || got.Priority != r.Priority || got.Cookie != r.Cookie || got.Goto != r.Goto || got.Meter != r.Meter ||
		v == v13 && flow.ActionsString(got.Actions) != flow.ActionsString(r.Actions) {
		t.Errorf("%v is held as %v", r, got)
	}
}

// frames are packets to send: ARP, and TCP, UDP and ICMP over IPv4 and IPv6,
// with a tag and without.
func frames() (list [][]byte) {
	list = append(list, frame)
	for _, tag := range []string{"", "8100a005"} {
		for _, l4 := range []string{"06", "11", "01"} {
			for _, l3 := range []string{
				"0800" + "4500003c000040004X0000" + "00" + "0a0000010a000002",
				"86dd" + "60000000002c" + "Xff" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002",
			} {
				l3 = strings.Replace(strings.Replace(l3, "4X", "40"+l4, 1), "X", l4, 1)
				b, err := hex.DecodeString("02000000000b02000000000a" + tag + l3 + strings.Repeat("00", 44))
				if err != nil {
					panic(err)
				}
				list = append(list, b)
			}
		}
	}
	return list
}

func packetsAgainst(t *testing.T, sw *realSwitch) {
	d := diceOf(rand.New(rand.NewPCG(9, uint64(sw.v))))
	c := tally{t: t, why: make(map[string]int)}
	all := frames()
	var sent [100]PacketOut
	var fit [len(sent)]error
	for range 100 {
		b := []byte(nil)
		wrote := make([]bool, len(sent))
		for i := range sent {
			p := &sent[i]
			*p = PacketOut{BufferID: flow.NoBuffer, InPort: choose(d, 1, 0, flow.PortLocal), Data: all[d(len(all))]}
			m := flow.ParseFrame(p.Data, 1)
			p.Actions = d.anyActions(&m)
			for i := range p.Actions { // no loops
				if p.Actions[i].Port == flow.PortTable {
					p.Actions[i].Port = 1
				}
			}
			xid := uint32(100 + i)
			if fit[i] = FitPacketOut(sw.v, p); fit[i] == nil {
				b, _ = AppendPacketOut(b, sw.v, xid, p)
			} else if FitActions(sw.v, p.Actions) == nil { // what doesn't suit the packet, as of one that nothing is known of
				q := *p
				q.Match, q.Actions = &flow.Match{}, slices.Clone(p.Actions)
				for i := range q.Actions {
					if q.Actions[i].IPProto == 0 {
						q.Actions[i].IPProto = flow.ProtoTCP
					}
				}
				next, err := AppendPacketOut(b, sw.v, xid, &q)
				b, wrote[i] = next, err == nil
			}
		}
		a := sw.ask(b)
		for i := range sent {
			c.add(flow.ActionsString(sent[i].Actions), fit[i], wrote[i], a.refused[uint32(100+i)])
		}
	}
	if sw.v == v10 { // which ignores what a packet lacks
		c.report(0)
	} else {
		c.report(50)
	}
}

// TestRulesOfOthers reads what a real Open vSwitch says of rules that the
// gateway has no nouns for.
func TestRulesOfOthers(t *testing.T) {
	s := ovs.Start(t, ovs.Options{})
	s.AddBridge("br0", ovs.Bridge{})
	rows := []struct {
		rule, unknown string
		forwards      bool
	}{
		{"tcp,tcp_flags=+syn-ack,actions=NORMAL", "tcp_flags=0x0002/0x0012", true},
		{"ip,nw_ttl=1,actions=drop", "nw_ttl=0x01", false},
		{"reg0=5,actions=drop", "reg0=0x00000005", false},
		{"tun_src=1.2.3.4,actions=1", "tun_src=0x01020304", true},
		{"tcp,tp_dst=0x50/0xfff0,actions=2", "tcp_dst=0x0050/0xfff0", true},
		{"ip,ip_frag=later,actions=drop", "ip_frag=0x03", false},
		{"conj_id=4,actions=drop", "conj_id=0x00000004", false},
		{"actions=write_actions(output:3)", "", true},
		{"in_port=2,actions=resubmit(,2)", "", true},
		{"in_port=3,actions=clear_actions", "", true},
		{"in_port=4,actions=CONTROLLER", "", false},
		{"in_port=5,actions=2", "", true},
	}
	for i, row := range rows {
		s.Ofctl("-O", "OpenFlow13", "add-flow", "br0", fmt.Sprintf("cookie=%d,priority=%d,%s", 100+i, 10+i, row.rule))
	}
	sw := dialReal(t, s, "br0", v13)
	b, err := AppendFlowStatsRequest(nil, v13, 5, &FlowStatsRequest{Table: tableAll})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, got := range sw.ask(b).rules[5] {
		i := int(got.Rule.Cookie) - 100
		if i < 0 || i >= len(rows) || int(got.Rule.Priority) != 10+i {
			t.Errorf("nobody added %v", &got)
			continue
		}
		found++
		if unknown := strings.Join(got.Unknown, ", "); unknown != rows[i].unknown || got.MayForward() != rows[i].forwards {
			t.Errorf("%s is %v, forwards %t", rows[i].rule, &got, got.MayForward())
		}
	}
	if found != len(rows) {
		t.Errorf("%d of %d rules", found, len(rows))
	}
}
