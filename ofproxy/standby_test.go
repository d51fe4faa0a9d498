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
	if h.Type == ofp.TypeRoleRequest {
		role, _, _ := ofp.ParseRole(msg)
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
	paired(t, false, 5, func(r *rig, l *lead) {
		var seen told
		sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow13}, Roles: new(oftest.Roles), Intercept: seen.see})
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
			if typ == ofp.TypeRoleRequest {
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
	for name, tell := range map[string]func(sw *oftest.Switch){
		"by asking": func(*oftest.Switch) { time.Sleep(roleEvery + 10*time.Millisecond) },
		"by an ERROR": func(sw *oftest.Switch) {
			if err := sw.SendError(5, ofp.ErrBadRequest, 10, nil); err != nil { // IS_SLAVE
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			paired(t, true, 8, func(r *rig, l *lead) {
				roles := new(oftest.Roles)
				var seen told
				sw := oftest.Serve(r.pipe(), oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow13}, Roles: roles, Intercept: seen.see})
				defer sw.Close()
				synctest.Wait()
				if !r.ready(1) {
					t.Fatalf("not ready:\n%s", r.logs)
				}
				other := oftest.NewDatapath(oftest.Config{DPID: 1, Versions: []flow.Protocol{flow.OpenFlow13}, Roles: roles})
				if _, _, err := other.Handle(nil, ofp.AppendHello(nil, 1, flow.OpenFlow13)); err != nil {
					t.Fatal(err)
				}
				if _, _, err := other.Handle(nil, ofp.AppendRoleRequest(nil, 2, ofp.RoleMaster, 11)); err != nil {
					t.Fatal(err)
				}
				tell(sw)
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
