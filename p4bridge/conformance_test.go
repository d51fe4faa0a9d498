package p4bridge

import (
	"context"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"switchbridge/flow"
	"switchbridge/p4bridge/pipeline"
)

// bare is a client without a session: what it meets is the switch's behaviour.
type bare struct {
	p4v1.P4RuntimeClient
	stream p4v1.P4Runtime_StreamChannelClient
	id     *p4v1.Uint128
}

func newBare(t testing.TB, r rig, election uint64, opts ...grpc.DialOption) *bare {
	t.Helper()
	b := &bare{P4RuntimeClient: reader(t, r, opts...), id: &p4v1.Uint128{Low: election}}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	if b.stream, err = b.StreamChannel(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.stream.Send(&p4v1.StreamMessageRequest{Update: &p4v1.StreamMessageRequest_Arbitration{
		Arbitration: &p4v1.MasterArbitrationUpdate{DeviceId: 1, ElectionId: b.id}}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// arbitration returns the status of the next arbitration message.
func (b *bare) arbitration(t testing.TB) codes.Code {
	t.Helper()
	for {
		m, err := b.stream.Recv()
		if err != nil {
			return status.Code(err)
		}
		if a := m.GetArbitration(); a != nil {
			return codes.Code(a.GetStatus().GetCode())
		}
	}
}

func (b *bare) push(t testing.TB) { b.pushProgram(t, program()) }

func (b *bare) pushProgram(t testing.TB, p *pipeline.Pipeline) {
	t.Helper()
	_, err := b.SetForwardingPipelineConfig(context.Background(), &p4v1.SetForwardingPipelineConfigRequest{
		DeviceId: 1, ElectionId: b.id, Action: p4v1.SetForwardingPipelineConfigRequest_VERIFY_AND_COMMIT,
		Config: &p4v1.ForwardingPipelineConfig{P4Info: p.Info, P4DeviceConfig: p.Device, Cookie: &p4v1.ForwardingPipelineConfig_Cookie{Cookie: p.Cookie}}})
	if err != nil {
		t.Fatal(err)
	}
}

// write sends updates and returns the call's status, and that of each update.
func (b *bare) write(id *p4v1.Uint128, updates ...*p4v1.Update) (codes.Code, []codes.Code) {
	_, err := b.Write(context.Background(), &p4v1.WriteRequest{DeviceId: 1, ElectionId: id, Updates: updates})
	st := status.Convert(err)
	var each []codes.Code
	for _, d := range st.Details() {
		if e, ok := d.(*p4v1.Error); ok {
			each = append(each, codes.Code(e.GetCanonicalCode()))
		}
	}
	return st.Code(), each
}

func tableUpdate(op p4v1.Update_Type, e *p4v1.TableEntry) *p4v1.Update {
	return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_TableEntry{TableEntry: e}}}
}

// What the simulated switch does is what BMv2 does.
func TestConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		first := newBare(t, r, 10)
		if c := first.arbitration(t); c != codes.OK {
			t.Fatalf("the only client: %v", c)
		}
		rule, _, err := binding().Entry(flowRule(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c, _ := first.write(first.id, tableUpdate(p4v1.Update_INSERT, rule)); c != codes.FailedPrecondition {
			t.Errorf("a write before a pipeline: %v", c)
		}
		if _, err := first.GetForwardingPipelineConfig(context.Background(), &p4v1.GetForwardingPipelineConfigRequest{DeviceId: 1}); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("asking for a pipeline that is not there: %v", err)
		}
		first.push(t)

		second := newBare(t, r, 5)
		if c := second.arbitration(t); c != codes.AlreadyExists {
			t.Errorf("a lower id: %v, want ALREADY_EXISTS", c)
		}
		if c, _ := second.write(second.id, tableUpdate(p4v1.Update_INSERT, rule)); c != codes.PermissionDenied {
			t.Errorf("a backup's write: %v", c)
		}
		if c := newBare(t, r, 10).arbitration(t); c != codes.InvalidArgument {
			t.Errorf("an id twice: %v", c)
		}

		// Each update stands for itself, and the errors are aligned.
		other, _, _ := binding().Entry(flowRule(2), nil)
		code, each := first.write(first.id, tableUpdate(p4v1.Update_INSERT, rule), tableUpdate(p4v1.Update_INSERT, rule),
			tableUpdate(p4v1.Update_INSERT, other), tableUpdate(p4v1.Update_DELETE, func() *p4v1.TableEntry {
				e, _, _ := binding().Entry(flowRule(3), nil)
				return e
			}()))
		if code != codes.Unknown || len(each) != 4 || each[0] != codes.OK || each[1] != codes.AlreadyExists || each[2] != codes.OK || each[3] != codes.NotFound {
			t.Errorf("a batch of good, duplicate, good and missing: %v %v", code, each)
		}

		ternary := &flow.Rule{Priority: 9, Match: flowRule(1).Match.Keep(flow.FieldInPort), Actions: []flow.Action{flow.OutputTo(2)}}
		good, _, err := binding().Entry(ternary, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, spoil := range map[string]func(*p4v1.TableEntry){
			"no priority": func(e *p4v1.TableEntry) { e.Priority = 0 },
			"value outside the mask": func(e *p4v1.TableEntry) {
				e.Match[0].GetTernary().Value, e.Match[0].GetTernary().Mask = []byte{3}, []byte{1}
			},
			"don't care spelled out": func(e *p4v1.TableEntry) {
				e.Match[0].GetTernary().Value, e.Match[0].GetTernary().Mask = []byte{0}, []byte{0}
			},
			"a value too wide": func(e *p4v1.TableEntry) { e.Match[0].GetTernary().Value = []byte{0xff, 0xff} },
			"a key twice":      func(e *p4v1.TableEntry) { e.Match = append(e.Match, e.Match[0]) },
			"an action that is not the table's": func(e *p4v1.TableEntry) {
				e.Action.GetAction().ActionId = program().Table("miss").Default("miss_punt").ID
			},
		} {
			e := proto.CloneOf(good)
			spoil(e)
			if code, each := first.write(first.id, tableUpdate(p4v1.Update_INSERT, e)); code != codes.Unknown || len(each) != 1 || each[0] == codes.OK {
				t.Errorf("%s: %v %v, want a refusal", name, code, each)
			}
		}
		if code, _ := first.write(first.id, tableUpdate(p4v1.Update_INSERT, good)); code != codes.OK {
			t.Errorf("the good one: %v", code)
		}

		// What is read back is what was written.
		for _, e := range entries(t, r, "flow_exact") {
			if pipeline.KeyOf(e) != pipeline.KeyOf(rule) && pipeline.KeyOf(e) != pipeline.KeyOf(other) {
				t.Errorf("an entry reads back as another: %v", e)
			}
		}

		// A push wipes tables, and digest configuration.
		digest := func(op p4v1.Update_Type) *p4v1.Update {
			return &p4v1.Update{Type: op, Entity: &p4v1.Entity{Entity: &p4v1.Entity_DigestEntry{DigestEntry: &p4v1.DigestEntry{
				DigestId: binding().Digest.P4.ID, Config: &p4v1.DigestEntry_Config{MaxListSize: 1}}}}}
		}
		if code, _ := first.write(first.id, digest(p4v1.Update_INSERT)); code != codes.OK {
			t.Errorf("digest: %v", code)
		}
		if _, each := first.write(first.id, digest(p4v1.Update_INSERT)); len(each) != 1 || each[0] != codes.AlreadyExists {
			t.Errorf("digest twice: %v", each)
		}
		first.push(t)
		if n := len(entries(t, r, "flow_exact")); n != 0 {
			t.Errorf("%d entries after a push", n)
		}
		if code, _ := first.write(first.id, digest(p4v1.Update_INSERT)); code != codes.OK {
			t.Errorf("digest after a push: %v", code)
		}
	})
}

// With an ack_timeout, equal samples wait for the acknowledgement or the time.
func TestDigestSuppression(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		b := newBare(t, r, 10)
		if c := b.arbitration(t); c != codes.OK {
			t.Fatal(c)
		}
		b.push(t)
		code, _ := b.write(b.id, &p4v1.Update{Type: p4v1.Update_INSERT, Entity: &p4v1.Entity{Entity: &p4v1.Entity_DigestEntry{DigestEntry: &p4v1.DigestEntry{
			DigestId: binding().Digest.P4.ID, Config: &p4v1.DigestEntry_Config{MaxListSize: 1, AckTimeoutNs: (2 * time.Second).Nanoseconds()}}}}},
			tableUpdate(p4v1.Update_MODIFY, &p4v1.TableEntry{TableId: program().Table("miss").ID, IsDefaultAction: true,
				Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{ActionId: program().Table("miss").Default("miss_digest").ID}}}}))
		if code != codes.OK {
			t.Fatal(code)
		}
		lists := make(chan *p4v1.DigestList, 100)
		go func() {
			for {
				m, err := b.stream.Recv()
				if err != nil {
					return
				}
				if d := m.GetDigest(); d != nil {
					lists <- d
				}
			}
		}()
		frame := udp(1, 2, 1)
		r.packet(t, 1, frame)
		select {
		case l := <-lists:
			m, err := binding().DigestMatch(l.GetData()[0])
			if want := flow.ParseFrame(frame, 1).Keep(binding().EventFields); err != nil || m != want {
				t.Errorf("the digest is %v, %v; want %v", m, err, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no digest")
		}
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			r.packet(t, 1, frame)
		}
		if len(lists) != 0 {
			t.Errorf("%d repeats before the acknowledgement", len(lists))
		}
		eventually(t, "it is told again after the timeout", func() bool { r.packet(t, 1, frame); return len(lists) > 0 })
	})
}
