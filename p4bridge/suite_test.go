package p4bridge

import (
	"context"
	"errors"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"

	"switchbridge/bridge"
	"switchbridge/bridge/bridgetest"
	"switchbridge/flow"
	"switchbridge/p4bridge/p4test"
	"switchbridge/p4bridge/pipeline"
)

// TestSuite runs the suite of all protocols' sessions on p4test and on BMv2.
func TestSuite(t *testing.T) {
	for name, miss := range map[string]Miss{"digest": MissDigest, "punt": MissPunt} {
		t.Run("p4test, "+name, func(t *testing.T) {
			t.Parallel()
			bridgetest.RunApart(t, func(*testing.T) bridgetest.Target {
				return suiteTarget(name, miss, func(t *testing.T) rig { return newSimulated(t, p4test.Options{DeviceID: 1}) })
			})
		})
	}
	t.Run("bmv2, punt", func(t *testing.T) {
		t.Parallel()
		bridgetest.RunApart(t, func(t *testing.T) bridgetest.Target {
			r := newReal(t)
			first := true
			return suiteTarget("BMv2", MissPunt, func(t *testing.T) rig {
				if !first {
					r.restart(t)
				}
				first = false
				for len(r.out()) > 0 { // of the case before
					<-r.out()
				}
				return r
			})
		})
	})
}

// Tables of the suite's program are small, so that they fill.
const (
	suiteExact = 128
	suiteFlow  = 16
	suiteRoom  = 3
)

func suiteTarget(name string, miss Miss, with func(*testing.T) rig) bridgetest.Target {
	return bridgetest.Target{
		Name: "P4, " + name, Room: suiteRoom, ExactFirst: true, Digests: miss == MissDigest,
		Inexpressible: func(packet *flow.Match) flow.Rule {
			r := flow.Rule{Priority: 200, IdleTimeout: time.Minute, Match: packet.Keep(flow.FieldInPort | flow.FieldEthType | flow.FieldIPProto)}
			r.Match.SetL4Dst(22)
			r.Match.Fields |= flow.FieldIPDSCP // the program has no such key
			return r
		},
		Connect: func(t *testing.T, b *bridge.Bridge) bridgetest.Peer {
			p := &peer{t: t, rig: with(t)}
			cfg := fastConfig(p.rig)
			cfg.Bridge, cfg.Miss = b, miss
			cfg.Pipeline, cfg.Mapping = sized(t, map[string]int64{"flow_exact": suiteExact, "flow": suiteFlow})
			cfg.Logger = b.Logger()
			p.session, p.stop = runUntil(t, cfg, nil)
			serving(t, p.session)
			return p
		},
	}
}

// peer is a P4 switch as the suite's.
type peer struct {
	t       *testing.T
	rig     rig
	session *Session
	stop    func()
}

func (p *peer) Close() { p.stop() }

func (p *peer) Reconnect() {
	was := p.session.serves.Load()
	was.c.cancel(errors.New("the test reconnects"))
	eventually(p.t, "the session serves again", func() bool { o := p.session.serves.Load(); return o != nil && o != was })
}

func (p *peer) Restart(b *bridge.Bridge) {
	p.stop()
	cfg := p.session.cfg
	cfg.Bridge = b
	p.session, p.stop = runUntil(p.t, cfg, nil)
	serving(p.t, p.session)
}

func (p *peer) Inject(port flow.PortNo, frame []byte) { p.rig.packet(p.t, uint32(port), frame) }

func (p *peer) Out() (out []bridgetest.Frame) {
	for {
		select {
		case f := <-p.rig.out():
			out = append(out, bridgetest.Frame{Port: flow.PortNo(f.Port), Data: f.Data})
		default:
			return out
		}
	}
}

// read returns all entries, default actions aside.
func (p *peer) read() (list []*p4v1.TableEntry) {
	p.t.Helper()
	for _, name := range []string{"acl", "flow_exact", "flow", "l2"} {
		list = append(list, entries(p.t, p.rig, name)...)
	}
	return list
}

func (p *peer) Rules() (list []flow.Rule) {
	for _, e := range p.read() {
		if r, shown, _ := binding().Rule(e); shown {
			list = append(list, r)
		}
	}
	return list
}

// write is what somebody else might do; the session's own connection is the one
// that the switch lets write.
func (p *peer) write(updates ...*p4v1.Update) {
	p.t.Helper()
	if err := p.session.serves.Load().c.write(context.Background(), updates); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) Load(r flow.Rule) {
	e, _, err := p.session.cfg.Mapping.Entry(&r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	op := p4v1.Update_INSERT
	for _, have := range p.read() {
		if pipeline.KeyOf(have) == pipeline.KeyOf(e) {
			op = p4v1.Update_MODIFY
		}
	}
	p.write(tableUpdate(op, e))
}

func (p *peer) Wipe() {
	updates := []*p4v1.Update{tableUpdate(p4v1.Update_MODIFY, &p4v1.TableEntry{TableId: program().Table("miss").ID, IsDefaultAction: true,
		Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{ActionId: program().Table("miss").Default("drop").ID}}}})}
	for _, e := range p.read() {
		updates = append(updates, tableUpdate(p4v1.Update_DELETE, &p4v1.TableEntry{TableId: e.GetTableId(), Match: e.GetMatch(), Priority: e.GetPriority()}))
	}
	p.write(updates...)
}

// Fill leaves room in the table of rules with masks, and none for flows.
func (p *peer) Fill() {
	var updates []*p4v1.Update
	for i := len(entries(p.t, p.rig, "flow_exact")); i < suiteExact; i++ {
		e, _, _ := binding().Entry(flowRule(1000+i), nil)
		updates = append(updates, tableUpdate(p4v1.Update_INSERT, e))
	}
	for i := len(entries(p.t, p.rig, "flow")); i < suiteFlow-suiteRoom; i++ {
		r := flow.Rule{Priority: 1}
		r.Match.SetEthType(uint16(0x9000 + i))
		e, _, _ := binding().Entry(&r, nil)
		updates = append(updates, tableUpdate(p4v1.Update_INSERT, e))
	}
	p.write(updates...)
}
