package p4bridge

import (
	"errors"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/p4bridge/p4test"
)

// ownedBy is an owner before a switch of the test's own, on the test's goroutine.
func ownedBy(t *testing.T, r rig) *owner {
	t.Helper()
	o, _ := bareOwner(t, r)
	return o
}

// What was queued while we were primary is not sent once we are not.
func TestNothingIsSentAfterDemotion(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	packet := func() {
		pi := flow.PacketIn{BufferID: flow.NoBuffer, Match: flow.ParseFrame(udp(1, 2, 1), 1), Data: udp(1, 2, 1)}
		err := o.Write(1, nil, &bridge.Packet{In: &pi, Actions: []flow.Action{flow.OutputTo(2)}, Rule: -1}, false)
		if err := errors.Join(err, o.flush(o.c.ctx)); err != nil {
			t.Fatal(err)
		}
	}
	packet()
	eventually(t, "a primary's packet goes", func() bool { return r.Stats().PacketOuts == 1 })
	o.c.endTerm(errDemoted) // the switch does not know yet: only the client can hold it back
	packet()
	eventually(t, "the queue is empty", func() bool { return len(o.c.send) == 0 })
	time.Sleep(50 * time.Millisecond) // there is no event for what must not happen
	if n := r.Stats().PacketOuts; n != 1 {
		t.Errorf("%d packets were sent, want the primary's alone", n)
	}
}

// An address that the switch would not take is learned again from its next packet.
func TestRefusedAddressIsLearnedAgain(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	ctx := o.c.term.Load().ctx
	r.Inject(p4test.Faults{Write: func(*p4v1.Update) error { return status.Error(codes.Unknown, "no") }})
	m := flow.ParseFrame(udp(1, 2, 1), 1)
	learn := func() {
		o.learn(&m)
		if err := o.flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	learn()
	if len(o.l2) != 0 {
		t.Errorf("%d addresses are taken for known", len(o.l2))
	}
	r.Inject(p4test.Faults{})
	learn()
	if n := len(r.Entries("l2")); n != 1 || len(o.l2) != 1 {
		t.Errorf("%d entries and %d addresses, want one of each", n, len(o.l2))
	}
}

// An entry that the switch would not remove when its time was over is tried
// again, and the ages of entries survive that a table is read again.
func TestRemovalIsTriedAgain(t *testing.T) {
	r := newSimulated(t, p4test.Options{DeviceID: 1})
	o := ownedBy(t, r)
	ctx := o.c.term.Load().ctx
	rule := flowRule(1)
	rule.HardTimeout = time.Minute
	rule.Cookie = gatewayID.Cookie(flow.PolicyVersion{}, 1)
	if err := errors.Join(o.Write(1, []bridge.Change{{Rule: rule}}, nil, false), o.flush(ctx)); err != nil {
		t.Fatal(err)
	}
	due := o.book.ends[0].deadline
	if err := o.List(ctx, bridge.Filter{}, func(*bridge.Installed) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if got := o.book.ends[0].deadline; !got.Equal(due) {
		t.Errorf("after reading the table again the entry ends %v later", got.Sub(due))
	}
	r.Inject(p4test.Faults{Write: func(*p4v1.Update) error { return status.Error(codes.Internal, "not now") }})
	over := time.Now().Add(2 * time.Minute)
	second := func(now time.Time) {
		o.second(now)
		if err := o.flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	second(over)
	if n := len(r.Entries("flow_exact")); n != 1 || len(o.book.ends) != 1 {
		t.Fatalf("%d entries, %d to end, want one that is still to go", n, len(o.book.ends))
	}
	r.Inject(p4test.Faults{})
	second(over.Add(retryRemove))
	if n := len(r.Entries("flow_exact")); n != 0 || len(o.book.entries) != 0 {
		t.Errorf("%d entries, %d in the book, want none", n, len(o.book.entries))
	}
}
