package fleet

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/stats"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

// Switches of a controller that forwards everything notice each packet that the
// policy denies, and time every answer.
func TestFleetJudges(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- bench.Responder{}.Serve(ctx, ln) }()
	denied := uint64(0)
	f, err := Dial(Config{Addrs: []string{ln.Addr().String()}, Switches: 3, First: 1, Rate: 1200, Packet: func(sw int, n uint32) Packet {
		p := Packet{Frame: frames.TCP(frames.Host(uint8(sw)).At(uint16(1000+n)), frames.Host(200).At(80), frames.SYN, nil), Deny: n%8 == 0}
		if p.Deny {
			denied++
		}
		return p
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var h stats.Histogram
	got := f.Run(200*time.Millisecond, &h, true)
	if got.Sent < 240 || got.Sent > 241 || got.Answered != got.Sent || h.Count() != got.Sent || got.Lost != 0 {
		t.Errorf("%+v, %d times; want 240 packets, all answered", got, h.Count())
	}
	if got.Wrong != denied || !strings.Contains(got.Example, "denies") {
		t.Errorf("%d answers count as wrong (%s), want those to %d packets that the policy denies", got.Wrong, got.Example, denied)
	}
	cancel() // the controller goes: what is sent from now on is lost
	if err := <-served; err != nil {
		t.Error(err)
	}
	got = f.Run(50*time.Millisecond, nil, true)
	if n, _ := f.Ended(); n != 3 || got.Lost != got.Sent || got.Sent == 0 {
		t.Errorf("%d connections and %d of %d packets count as lost", n, got.Lost, got.Sent)
	}
}

// A switch of two gateways sends its packets to the one that leads, and to the other one when that has gone; who comes back is
// connected to again.
func TestFleetFollowsTheLead(t *testing.T) {
	listen := func(addr string) net.Listener {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	serve := func(ln net.Listener) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- bench.Responder{}.Serve(ctx, ln) }()
		return func() { cancel(); <-served }
	}
	first, second := listen("127.0.0.1:0"), listen("127.0.0.1:0")
	stopFirst, stopSecond := serve(first), serve(second)
	defer func() { stopSecond() }()
	f, err := Dial(Config{Addrs: []string{first.Addr().String(), second.Addr().String()}, Switches: 2, First: 1, Rate: 400, Redial: true,
		Packet: func(sw int, n uint32) Packet {
			return Packet{Frame: frames.TCP(frames.Host(uint8(sw)).At(uint16(1000+n)), frames.Host(200).At(80), frames.SYN, nil)}
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	claim := func(link int, generation uint64) { // as the gateway at its other end does
		for _, n := range f.all {
			l := n.links[link]
			if _, _, err := l.dp.Handle(nil, ofp.AppendRoleRequest(nil, 1, ofp.RoleMaster, generation)); err != nil {
				t.Fatal(err)
			}
			if n.leader() != l {
				t.Errorf("switch %v does not ask the gateway that leads", n.dpid)
			}
		}
	}
	claim(0, 1)
	claim(1, 2)
	claim(0, 3)
	stopFirst()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if n, _ := f.Ended(); n == 2 {
			break
		}
		f.Run(10*time.Millisecond, nil, false)
	}
	claim(1, 4)
	if got := f.Run(50*time.Millisecond, nil, true); got.Answered == 0 || got.Lost > got.Sent/2 {
		t.Errorf("of the gateway that has the lead now: %+v", got)
	}
	stopFirst = serve(listen(first.Addr().String()))
	defer stopFirst()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		f.Run(20*time.Millisecond, nil, false)
		if n, _ := f.Ended(); n == 0 {
			return
		}
	}
	t.Error("a gateway that is back is not connected to again")
}

// A claim that is older than one that was granted is refused, and who is no master changes nothing.
func TestRoles(t *testing.T) {
	roles := new(oftest.Roles)
	dp := func() *oftest.Datapath {
		d := oftest.NewDatapath(oftest.Config{Versions: []flow.Protocol{flow.OpenFlow13}, Roles: roles})
		if _, _, err := d.Handle(nil, ofp.AppendHello(nil, 1, flow.OpenFlow13)); err != nil {
			t.Fatal(err)
		}
		return d
	}
	say := func(d *oftest.Datapath, msg []byte) (ofp.Header, []byte) {
		out, _, err := d.Handle(nil, msg)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 {
			return ofp.Header{}, nil
		}
		h, err := ofp.ParseHeader(out)
		if err != nil {
			t.Fatal(err)
		}
		return h, out
	}
	a, b := dp(), dp()
	say(a, ofp.AppendRoleRequest(nil, 1, ofp.RoleMaster, 5))
	say(b, ofp.AppendRoleRequest(nil, 1, ofp.RoleSlave, 5))
	if h, _ := say(b, ofp.AppendRoleRequest(nil, 1, ofp.RoleMaster, 4)); h.Type != ofp.TypeError || !a.Asks() || b.Asks() {
		t.Errorf("an older claim gets %v", h.Type)
	}
	say(b, ofp.AppendRoleRequest(nil, 1, ofp.RoleMaster, 6))
	if a.Asks() || !b.Asks() {
		t.Error("the newer claim does not lead")
	}
	if h, out := say(a, ofp.AppendRoleRequest(nil, 1, ofp.RoleNoChange, 0)); h.Type != ofp.TypeRoleReply {
		t.Errorf("%v", h.Type)
	} else if role, generation, _ := ofp.ParseRole(out); role != ofp.RoleSlave || generation != 6 {
		t.Errorf("%v of generation %d, want slave of 6", role, generation)
	}
	mod, err := ofp.AppendFlowMod(nil, flow.OpenFlow13, 7, &flow.Rule{Command: flow.Add, BufferID: flow.NoBuffer}, flow.NoBuffer)
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := say(a, mod); h.Type != ofp.TypeError {
		t.Errorf("a slave's FLOW_MOD gets %v", h.Type)
	}
	b.Gone()
	say(a, ofp.AppendRoleRequest(nil, 1, ofp.RoleEqual, 0))
	if !a.Asks() {
		t.Error("an equal is not asked")
	}
}
