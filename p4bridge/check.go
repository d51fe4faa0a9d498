package p4bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
)

// Wire is the other end of one of a switch's ports, for [Session.Check].
type Wire interface {
	// Send gives the port a frame.
	Send(frame []byte) error
	// Frames are what came out of the port; the channel is closed with the wire.
	Frames() <-chan []byte
}

// CheckOptions say how far [Session.Check] goes.
type CheckOptions struct {
	// Push replaces another program that the switch runs, and all its entries.
	Push bool
	// Wires are ports by which packets can be sent into the switch and seen to leave it.
	Wires map[uint32]Wire
	// Wait is how long to wait for a packet. [3s]
	Wait time.Duration
	// Report is called for each thing that was tried. err is nil if it worked, and
	// [ErrNotTried] if it could not be tried.
	Report func(what string, err error)
}

// ErrNotTried is what CheckOptions.Report gets for packets if there is no wire.
var ErrNotTried = errors.New("not tried: no interface at the other end of a port is named")

// Check tries the mapping on the switch: it writes, reads back and removes one entry of
// each kind, and sends a packet in each direction where there is a wire. It uses the
// same code as Run. The switch must have no other primary. Check removes everything
// that it has written, except the mapping's groups and setup.
//
// Report is told what did not work. Check returns an error only if it had to stop early.
func (s *Session) Check(ctx context.Context, opt CheckOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if opt.Wait == 0 {
		opt.Wait = 3 * time.Second
	}
	c, err := s.connect(ctx, s.cfg.Election, nil)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.close()
	defer c.finish() // or a check that follows would meet its own election id
	select {
	case u := <-c.arbitration:
		if code := codes.Code(u.GetStatus().GetCode()); code != codes.OK {
			return fmt.Errorf("another controller is the switch's primary, with election id %d:%d: stop it first",
				u.GetElectionId().GetHigh(), u.GetElectionId().GetLow())
		}
	case <-time.After(s.cfg.DialTimeout):
		return fmt.Errorf("arbitrate: no answer within %v", s.cfg.DialTimeout)
	case <-c.ctx.Done():
		return s.streamError(c, true)
	}
	t := c.term.Load()
	if t == nil {
		return errNoPrimary
	}
	o := newOwner(s, c, t.ctx)
	defer o.end()
	k := &checker{o: o, CheckOptions: opt}
	if err := k.program(t.ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"read what the switch holds", o.readAll},
		{"multicast groups and clone sessions", o.writeGroups},
		{"the mapping's setup", o.writeSetup},
		{"digest", o.configureDigest},
	} {
		err := step.do(t.ctx)
		opt.Report(step.what, err)
		if err != nil {
			return errors.New("the rest was not tried")
		}
	}
	k.tables(t.ctx)
	k.stations(t.ctx)
	if k.miss(t.ctx) {
		k.packets(t.ctx)
		k.unmiss(t.ctx)
	}
	return context.Cause(t.ctx)
}

// readAll is what a session reads before it writes.
func (o *owner) readAll(ctx context.Context) error {
	if err := o.readMembers(ctx); err != nil {
		return err
	}
	return o.readTables(ctx)
}

type checker struct {
	CheckOptions
	o *owner
}

// program pushes the program if the switch doesn't run it.
func (k *checker) program(ctx context.Context) error {
	if err := k.o.c.capabilities(ctx); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	have, err := k.o.c.installedCookie(ctx)
	if err != nil {
		return fmt.Errorf("which program the switch runs: %w", err)
	}
	switch {
	case have == k.o.s.cfg.Pipeline.Cookie:
		k.Report("the switch runs the program", nil)
		return nil
	case have != 0 && !k.Push:
		return fmt.Errorf("the switch runs another program (cookie %#x); --push replaces it, and removes all its entries", have)
	}
	err = k.o.pushPipeline(ctx)
	k.Report("push the program", err)
	if err != nil {
		return errors.New("the rest was not tried")
	}
	return nil
}

// samplePackets are of the kinds that a table's rules may be about.
func samplePackets(port uint32) (list []flow.Match) {
	a, b := frames.Host(1), frames.Host(2)
	a6, b6 := a, b
	a6.IP, b6.IP = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for _, frame := range [][]byte{
		frames.TCP(a.At(40000), b.At(9), frames.SYN, nil), frames.UDP(a.At(40000), b.At(9), nil), frames.Ping(a, b, 1, 1),
		frames.TCP(a6.At(40000), b6.At(9), frames.SYN, nil), frames.ARPRequest(a, b.IP),
		frames.Tagged(frames.TCP(a.At(40000), b.At(9), frames.SYN, nil), 2, 0),
	} {
		list = append(list, flow.ParseFrame(frame, flow.PortNo(port)))
	}
	return list
}

// tables tries an entry of each action of each mapped table.
func (k *checker) tables(ctx context.Context) {
	m := k.o.s.cfg.Mapping
	ports := k.o.s.cfg.Ports
	for _, t := range m.Tables {
		list, err := m.Samples(t, samplePackets(ports[0]), flow.PortNo(ports[len(ports)-1]))
		if err != nil {
			k.Report("table "+t.P4.Name, fmt.Errorf("no rule about a packet fits: %w", err))
			continue
		}
		for _, sample := range list {
			k.Report(fmt.Sprintf("table %s: %s", t.P4.Name, sample.Actions), k.entry(ctx, t.P4, sample.Entry, func(e *p4v1.TableEntry) error {
				r, shown, _ := m.Rule(e)
				if !shown || !slices.Equal(r.Actions, sample.Rule.Actions) || r.Match != sample.Rule.Match {
					return fmt.Errorf("it reads back as %v %s, and was %v %s", r.Match, flow.ActionsString(r.Actions), sample.Rule.Match, flow.ActionsString(sample.Rule.Actions))
				}
				return nil
			}))
		}
	}
}

// stations tries an entry of the table behind NORMAL.
func (k *checker) stations(ctx context.Context) {
	l := k.o.s.cfg.Mapping.L2
	if l == nil {
		return
	}
	port, err := pipeline.Uint(uint64(k.o.s.cfg.Ports[0]), l.Port.Width)
	if err == nil {
		mac := frames.Host(1).MAC
		err = k.entry(ctx, l.Table, &p4v1.TableEntry{
			TableId: l.Table.ID,
			Match: []*p4v1.FieldMatch{{FieldId: l.MAC.ID, FieldMatchType: &p4v1.FieldMatch_Exact_{
				Exact: &p4v1.FieldMatch_Exact{Value: pipeline.Canonical(bytes.Clone(mac[:]))}}}},
			Action: mapping.WithAction(l.Table, &p4v1.Action{ActionId: l.Action.ID, Params: []*p4v1.Action_Param{{ParamId: l.Port.ID, Value: port}}}),
		}, func(*p4v1.TableEntry) error { return nil })
	}
	k.Report(fmt.Sprintf("table %s: a station", l.Table.Name), err)
}

// entry writes an entry, reads it back and removes it.
func (k *checker) entry(ctx context.Context, t *pipeline.Table, e *p4v1.TableEntry, same func(*p4v1.TableEntry) error) error {
	e = proto.CloneOf(e)
	own := k.o.s.cfg.Bridge.OwnCookie()
	e.ControllerMetadata = own
	key := pipeline.KeyOf(e)
	if err := k.do(ctx, &change{entry: e, table: t, key: key, priority: e.GetPriority()}); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	read := func() ([]*p4v1.Entity, error) {
		return k.o.c.read(ctx, &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: &p4v1.TableEntry{TableId: e.GetTableId(), Match: e.GetMatch(), Priority: e.GetPriority()}}})
	}
	found, err := read()
	switch {
	case err != nil:
		err = fmt.Errorf("read: %w", err)
	case len(found) != 1:
		err = fmt.Errorf("read: the switch has %d entries where one was written", len(found))
	case pipeline.KeyOf(found[0].GetTableEntry()) != key:
		err = fmt.Errorf("read: the keys are others than those that were written: %v", found[0].GetTableEntry().GetMatch())
	default:
		err = same(found[0].GetTableEntry())
	}
	if gone := k.do(ctx, &change{remove: true, key: key, meant: exactly(own), priority: anyPriority, why: flow.RemovedDelete}); gone != nil {
		return errors.Join(err, fmt.Errorf("remove: %w", gone))
	}
	if found, readErr := read(); err == nil && readErr == nil && len(found) > 0 {
		err = errors.New("remove: the entry is still there")
	}
	return err
}

// do carries one change out, as serving does.
func (k *checker) do(ctx context.Context, c *change) error {
	k.o.mu.Lock()
	k.o.queue = append(k.o.queue, &request{changes: []*change{c}})
	k.o.mu.Unlock()
	if err := k.o.flush(ctx); err != nil {
		return err
	}
	return c.err
}

// miss writes the entry or default action that sends packets to the gateway. It returns
// false if that failed.
func (k *checker) miss(ctx context.Context) bool {
	cfg := &k.o.s.cfg
	e := cfg.Mapping.Miss.Entry(cfg.Miss)
	if e == nil {
		k.Report(fmt.Sprintf("miss=%v: the program does so by itself", cfg.Miss), nil)
		return true
	}
	e.ControllerMetadata = cfg.Bridge.OwnCookie()
	err := k.do(ctx, &change{entry: e, table: cfg.Mapping.Miss.Table, key: pipeline.KeyOf(e)})
	k.Report(fmt.Sprintf("miss=%v, in table %s", cfg.Miss, cfg.Mapping.Miss.Table.Name), err)
	return err == nil
}

// unmiss removes what miss has written: a default action becomes the program's own again.
func (k *checker) unmiss(ctx context.Context) {
	cfg := &k.o.s.cfg
	e := cfg.Mapping.Miss.Entry(cfg.Miss)
	if e == nil {
		return
	}
	u := &p4v1.Update{Type: p4v1.Update_DELETE, Entity: &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: e}}}
	if e.GetIsDefaultAction() { // it can only be replaced (P4Runtime 1.3, 9.1.3)
		u.Type, e.Action = p4v1.Update_MODIFY, nil
	}
	if err := k.o.c.write(ctx, []*p4v1.Update{u}); err != nil {
		k.Report("take out what asks", err)
	}
}

// packets sends one each way at each wire.
func (k *checker) packets(ctx context.Context) {
	cfg := &k.o.s.cfg
	if len(k.Wires) == 0 {
		k.Report("packets", ErrNotTried)
	}
	for _, port := range cfg.Ports {
		w := k.Wires[port]
		if w == nil {
			continue
		}
		if cfg.Miss == MissDigest || cfg.Miss == MissPunt || cfg.Miss == MissClone {
			k.Report(fmt.Sprintf("a packet into port %d asks", port), k.in(ctx, w, port))
		}
		if cfg.Mapping.PacketOut != nil {
			k.Report(fmt.Sprintf("a packet out of port %d", port), k.out(ctx, w, port))
		}
	}
}

// trial returns a frame that no other host sends. It is long enough not to be padded.
func trial() []byte {
	from, to := frames.Host(1).At(40000), frames.Host(2).At(9)
	from.MAC, to.MAC = flow.MAC{2, 'p', '4', 0, 0, 1}, flow.MAC{2, 'p', '4', 0, 0, 2}
	return frames.TCP(from, to, frames.SYN, []byte("switchbridge p4 check"))
}

// in sends a packet into the switch and waits for the event that it causes.
func (k *checker) in(ctx context.Context, w Wire, port uint32) error {
	frame := trial()
	want := flow.ParseFrame(frame, flow.PortNo(port))
	if err := w.Send(frame); err != nil {
		return err
	}
	late := time.After(k.Wait)
	for {
		select {
		case <-k.o.c.events.ready:
			ev := k.o.c.events.take()
			if ev == nil {
				continue
			}
			if ev.list != nil {
				k.o.c.settle(ev.list, 1)
			}
			got := ev.pi.Match
			if macs := [2]flow.MAC{want.EthSrc, want.EthDst}; got.Has(flow.FieldEthSrc) && !slices.Contains(macs[:], got.EthSrc) {
				continue // another's packet
			}
			if wrong := differs(&got, &want); wrong != 0 {
				return fmt.Errorf("the mapping reads %v of it wrongly: %v, and it was %v", wrong, got, want)
			}
			return nil
		case <-late:
			return fmt.Errorf("nothing came within %v: the port may be another, the CPU port of the switch may differ from the program's, or the program drops such a packet before it asks", k.Wait)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// differs returns the fields that both have, with different values.
func differs(a, b *flow.Match) (wrong flow.Field) {
	for rest := a.Fields & b.Fields; rest != 0; rest &= rest - 1 {
		if f := rest & -rest; a.Keep(f) != b.Keep(f) {
			wrong |= f
		}
	}
	return wrong
}

// out sends a packet out of a port and waits for it there.
func (k *checker) out(ctx context.Context, w Wire, port uint32) error {
	frame := trial()
	outs, err := k.o.s.cfg.Mapping.PacketOuts(frame, 0, []flow.Action{flow.OutputTo(flow.PortNo(port))})
	if err != nil {
		return err
	}
	for _, p := range outs {
		k.o.c.post(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Packet{Packet: p}})
	}
	late := time.After(k.Wait)
	for {
		select {
		case got, ok := <-w.Frames():
			switch {
			case !ok:
				return errors.New("the interface is gone")
			case bytes.Equal(got, frame):
				return nil
			case len(got) >= 12 && bytes.Equal(got[6:12], frame[6:12]):
				return fmt.Errorf("the packet comes out changed: % x, and it was % x", got, frame)
			}
		case <-late:
			return fmt.Errorf("it did not come out within %v: packet_out's fields may mean something else", k.Wait)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
