package ofproxy

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// lead is a pair of which the test says who leads.
type lead struct {
	mu      sync.Mutex
	term    bridge.Term
	changed chan struct{}
	lost    []uint64 // generations of the claims that a switch is said to obey
	passed  int
}

func newLead(leads bool, generation uint64) *lead {
	l := &lead{changed: make(chan struct{})}
	l.term = bridge.Term{Leads: leads, Generation: generation, Changed: l.changed}
	return l
}

func (l *lead) set(leads bool, generation uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(leads, generation)
}

// turn is set. The caller holds mu.
func (l *lead) turn(leads bool, generation uint64) {
	close(l.changed)
	l.changed = make(chan struct{})
	l.term = bridge.Term{Leads: leads, Generation: generation, Changed: l.changed}
}

// wakes says that the gateway was stopped, and does not know whether the other one leads by now.
func (l *lead) wakes() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.term.Unsure = true
}

func (l *lead) Term(flow.DPID) bridge.Term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// Lost has the gateway stand by, as the other one does not answer.
func (l *lead) Lost(_ flow.DPID, generation uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, generation)
	if l.term.Leads {
		l.turn(false, generation)
	}
}

func (l *lead) Member() uint32             { return 0 }
func (l *lead) Newest() uint64             { return 0 }
func (l *lead) Seen(_ flow.DPID, _ uint64) {}
func (l *lead) PassOn(flow.DPID, *flow.PacketIn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passed++
	return true
}

// told is what a switch is told, in order.
type told struct {
	mu   sync.Mutex
	list []ofp.Type
	no   []ofp.Role // that were asked for
}

func (o *told) see(h ofp.Header, msg []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, h.Type)
	switch h.Type {
	case ofp.TypeRoleRequest:
		role, _, _ := ofp.ParseRole(msg)
		o.no = append(o.no, role)
	case ofp.TypeExperimenter:
		role, _, _ := ofp.ParseNiciraRole(msg)
		o.no = append(o.no, role)
	}
	return false
}

func (o *told) roles() []ofp.Role {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.no)
}

func (o *told) first(t ofp.Type) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Index(o.list, t)
}

// changes are the messages that change a switch.
var changes = []ofp.Type{ofp.TypeSetConfig, ofp.TypeFlowMod, ofp.TypeMeterMod, ofp.TypeGroupMod, ofp.TypePacketOut}

// paired is bubble with a pair.
func paired(t *testing.T, leads bool, generation uint64, body func(r *rig, l *lead)) {
	var l *lead
	bubble(t, func(c *testConfig) {
		l = newLead(leads, generation)
		c.B.Pair = l
		c.Meters = []ofp.Meter{{ID: 1, Rate: 10}}
	}, func(r *rig) { body(r, l) })
}

// TestStandbyChangesNothing: a gateway that stands by makes itself a slave and sends nothing that changes the switch; when it leads it claims before
// it does.
func TestStandbyChangesNothing(t *testing.T) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		t.Run(v.String(), func(t *testing.T) { standbyChangesNothing(t, v) })
	}
}

func standbyChangesNothing(t *testing.T, v flow.Protocol) {
	paired(t, false, 5, func(r *rig, l *lead) {
		var seen told
		sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{v}, Roles: new(oftest.Roles), Intercept: seen.see})
		defer sw.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, typ := range changes {
			if seen.first(typ) >= 0 {
				t.Errorf("%v was sent to a switch that another gateway governs", typ)
			}
		}
		if roles := seen.roles(); len(roles) == 0 || roles[len(roles)-1] != ofp.RoleSlave {
			t.Errorf("roles asked for: %v, want slave at last", roles)
		}
		if got := r.server.Sessions(); len(got) != 1 || got[0].State != "standby" {
			t.Errorf("sessions %+v", got)
		}
		l.set(true, 9)
		synctest.Wait()
		if !r.ready(1) {
			t.Fatalf("the switch is not governed:\n%s", r.logs)
		}
		claimed := slices.Index(seen.roles(), ofp.RoleMaster)
		if claimed < 0 {
			t.Fatalf("no claim: %v", seen.roles())
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		claims := 0
		for _, typ := range seen.list {
			if typ == ofp.TypeRoleRequest || typ == ofp.TypeExperimenter {
				claims++
			}
			if slices.Contains(changes, typ) && claims <= claimed {
				t.Errorf("%v was sent before the claim", typ)
			}
		}
	})
}

// TestDemotionIsNoticed: OpenFlow 1.3 tells nobody that he was demoted, so a switch is asked; an answer to that, and an ERROR that says so, end the lead
// over it, and nothing is sent from then on.
func TestDemotionIsNoticed(t *testing.T) {
	frame := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), []byte("x"))
	says := func(code uint16) func(sw *oftest.Switch) {
		return func(sw *oftest.Switch) {
			if err := sw.SendError(5, ofp.ErrBadRequest, code, nil); err != nil {
				t.Error(err)
			}
		}
	}
	for name, row := range map[string]struct {
		v    flow.Protocol
		tell func(sw *oftest.Switch)
	}{
		"by asking":               {flow.OpenFlow13, func(*oftest.Switch) { time.Sleep(roleEvery + 10*time.Millisecond) }},
		"by an ERROR":             {flow.OpenFlow13, says(10)}, // IS_SLAVE
		"by an ERROR of 1.0":      {flow.OpenFlow10, says(ofp.BadRequestEperm)},
		"by Open vSwitch's ERROR": {flow.OpenFlow10, says(niciraIsSlave)},
	} {
		t.Run(name, func(t *testing.T) {
			paired(t, true, 8, func(r *rig, l *lead) {
				roles := new(oftest.Roles)
				var seen told
				sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{row.v}, Roles: roles, Intercept: seen.see})
				defer sw.Close()
				synctest.Wait()
				if !r.ready(1) {
					t.Fatalf("not ready:\n%s", r.logs)
				}
				other := oftest.NewDatapath(oftest.Config{DPID: 1, Versions: []flow.Protocol{row.v}, Roles: roles})
				if _, _, err := other.Handle(nil, ofp.AppendHello(nil, 1, row.v)); err != nil {
					t.Fatal(err)
				}
				claim := ofp.AppendRoleRequest(nil, 2, ofp.RoleMaster, 11)
				if row.v == flow.OpenFlow10 {
					claim = ofp.AppendNiciraRole(nil, 2, ofp.RoleMaster)
				}
				if _, _, err := other.Handle(nil, claim); err != nil {
					t.Fatal(err)
				}
				row.tell(sw)
				synctest.Wait()
				if len(l.lost) != 1 || r.ready(1) {
					t.Fatalf("lost %v, ready %t\n%s", l.lost, r.ready(1), r.logs)
				}
				if name == "by asking" && l.lost[0] != 11 {
					t.Errorf("the other's generation is %d, want 11", l.lost[0])
				}
				sw.Take()
				if err := sw.PacketIn(1, frame); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				for _, m := range sw.Take() {
					if slices.Contains(changes, m.Type) {
						t.Errorf("%v was sent after the lead was lost", m)
					}
				}
			})
		})
	}
}

// TestHeldSwitchIsSentNothing: at a handover every switch confirms what it was sent, and what comes then is the other gateway's.
func TestHeldSwitchIsSentNothing(t *testing.T) {
	frame := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), []byte("x"))
	paired(t, true, 8, func(r *rig, l *lead) {
		sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow13}, Roles: new(oftest.Roles)})
		defer sw.Close()
		synctest.Wait()
		sw.Take()
		if err := sw.PacketIn(1, frame); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(sw.Take()) == 0 {
			t.Fatal("the packet is not decided")
		}
		if err := r.server.Hold(r.ctx); err != nil {
			t.Fatal(err)
		}
		if err := sw.PacketIn(1, frame); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := sw.Take(); len(got) != 0 || l.passed != 1 {
			t.Errorf("the switch was sent %v, and the other gateway %d packets", got, l.passed)
		}
	})
}

// TestStoppedAsksBeforeItWrites: a switch of 1.0 obeys whoever claims it last. So a gateway that was stopped while the other one took the lead neither claims
// such a switch, which may have connected anew meanwhile, nor decides its packets before it knows who leads. A switch of 1.3 refuses an old claim itself.
func TestStoppedAsksBeforeItWrites(t *testing.T) {
	frame := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), []byte("x"))
	connects := func(t *testing.T, v flow.Protocol, then func(r *rig, l *lead, sw *oftest.Switch, seen *told)) {
		paired(t, true, 8, func(r *rig, l *lead) {
			var seen told
			sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{v}, Roles: new(oftest.Roles), Intercept: seen.see})
			defer sw.Close()
			then(r, l, sw, &seen)
		})
	}
	for name, leads := range map[string]bool{"it leads": true, "the other one leads": false} {
		t.Run("connected anew, "+name, func(t *testing.T) {
			paired(t, true, 8, func(r *rig, l *lead) {
				l.wakes()
				roles := new(oftest.Roles)
				other := oftest.NewDatapath(oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow10}, Roles: roles})
				for _, msg := range [][]byte{ofp.AppendHello(nil, 1, flow.OpenFlow10), ofp.AppendNiciraRole(nil, 2, ofp.RoleMaster)} {
					if _, _, err := other.Handle(nil, msg); err != nil {
						t.Fatal(err)
					}
				}
				var seen told
				sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow10}, Roles: roles, Intercept: seen.see})
				defer sw.Close()
				time.Sleep(time.Second)
				synctest.Wait()
				if slices.Contains(seen.roles(), ofp.RoleMaster) || !other.Asks() {
					t.Fatalf("it claims before it has asked: %v, the leader's switch still asks it: %t", seen.roles(), other.Asks())
				}
				l.set(leads, 8)
				synctest.Wait()
				if claimed := slices.Contains(seen.roles(), ofp.RoleMaster); claimed != leads || other.Asks() == leads || r.ready(1) != leads {
					t.Errorf("when it knows: claimed %t, governs %t, the other is asked %t\n%s", claimed, r.ready(1), other.Asks(), r.logs)
				}
			})
		})
		t.Run("a packet, "+name, func(t *testing.T) {
			connects(t, flow.OpenFlow10, func(r *rig, l *lead, sw *oftest.Switch, _ *told) {
				synctest.Wait()
				if !r.ready(1) {
					t.Fatalf("not ready:\n%s", r.logs)
				}
				sw.Take()
				l.wakes()
				if err := sw.PacketIn(1, frame); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if got := sw.Take(); len(got) != 0 || l.passed != 0 {
					t.Fatalf("before it knows who leads the switch is sent %v, and the other gateway %d packets", got, l.passed)
				}
				l.set(leads, 8)
				synctest.Wait()
				if got := sw.Take(); (len(got) > 0) != leads || (l.passed == 1) == leads {
					t.Errorf("when it knows the switch is sent %v, and the other gateway %d packets", got, l.passed)
				}
			})
		})
	}
	t.Run("OpenFlow 1.3", func(t *testing.T) {
		paired(t, true, 8, func(r *rig, l *lead) {
			l.wakes()
			sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow13}, Roles: new(oftest.Roles)})
			defer sw.Close()
			synctest.Wait()
			if !r.ready(1) {
				t.Errorf("a switch that tells old claims from new ones waits:\n%s", r.logs)
			}
		})
	})
}
