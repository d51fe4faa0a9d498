package p4test

import (
	"cmp"
	"io"
	"slices"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// electionID is a Uint128 that compares.
type electionID struct{ high, low uint64 }

func (e electionID) compare(o electionID) int {
	return cmp.Or(cmp.Compare(e.high, o.high), cmp.Compare(e.low, o.low))
}

func electionOf(u *p4v1.Uint128) electionID { return electionID{u.GetHigh(), u.GetLow()} }

// stream is one controller's stream channel.
type stream struct {
	election electionID
	joined   bool
	srv      p4v1.P4Runtime_StreamChannelServer
	send     chan any // *p4v1.StreamMessageResponse, or a prepared one
	done     <-chan struct{}
}

// maxStreams is BMv2's limit.
const maxStreams = 16

// StreamChannel serves one controller (P4Runtime 1.3, 16).
func (t *Target) StreamChannel(srv p4v1.P4Runtime_StreamChannelServer) error {
	s := &stream{srv: srv, send: make(chan any, streamQueue), done: srv.Context().Done()}
	t.mu.Lock()
	if len(t.streams) >= maxStreams {
		t.mu.Unlock()
		return status.Errorf(codes.ResourceExhausted, "more than %d streams", maxStreams)
	}
	t.streams = append(t.streams, s)
	t.mu.Unlock()
	defer t.leave(s)

	go func() {
		for {
			select {
			case m := <-s.send:
				if srv.SendMsg(m) != nil {
					return
				}
			case <-s.done:
				return
			}
		}
	}()
	for {
		req, err := srv.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		t.hang(s.done)
		switch u := req.GetUpdate().(type) {
		case *p4v1.StreamMessageRequest_Arbitration:
			if err := t.arbitrate(s, u.Arbitration); err != nil {
				return err
			}
		case *p4v1.StreamMessageRequest_Packet:
			t.packetOut(s, u.Packet)
		case *p4v1.StreamMessageRequest_DigestAck:
			t.ack(u.DigestAck)
		}
	}
}

func (t *Target) arbitrate(s *stream, u *p4v1.MasterArbitrationUpdate) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.GetDeviceId() != t.opts.DeviceID {
		return status.Errorf(codes.NotFound, "device %d is not here", u.GetDeviceId())
	}
	id := electionOf(u.GetElectionId())
	for _, o := range t.streams {
		if o != s && o.joined && o.election == id {
			return status.Error(codes.InvalidArgument, "Election id already exists")
		}
	}
	s.election, s.joined = id, true
	t.elect(s)
	return nil
}

// leave takes a stream out; when it was the primary's, BMv2 promotes the next
// backup, and the specification leaves the device without a primary.
func (t *Target) leave(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams = slices.DeleteFunc(t.streams, func(o *stream) bool { return o == s })
	if t.primary == s {
		t.primary = nil
		if !t.opts.Specification {
			t.highest = electionID{}
		}
		t.elect(nil)
	}
}

// elect finds the primary and tells all who must know: everybody when it
// changed, else the stream that asked (P4Runtime 1.3, 5.3).
func (t *Target) elect(asked *stream) {
	was := t.primary
	for _, s := range t.streams {
		if s.joined && s.election.compare(t.highest) >= 0 {
			t.highest, t.primary = s.election, s
		}
	}
	for _, s := range t.streams {
		if !s.joined || (t.primary == was && s != asked && was != nil) {
			continue
		}
		st := &spb.Status{Code: int32(codes.OK)}
		switch {
		case s == t.primary:
		case t.primary == nil:
			st = &spb.Status{Code: int32(codes.NotFound), Message: "No primary controller"}
		default:
			st = &spb.Status{Code: int32(codes.AlreadyExists), Message: "Is backup"}
		}
		t.post(s, &p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Arbitration{Arbitration: &p4v1.MasterArbitrationUpdate{
			DeviceId: t.opts.DeviceID, Status: st,
			ElectionId: &p4v1.Uint128{High: t.highest.high, Low: t.highest.low},
		}}})
	}
}

// post queues a message; one more than the queue holds is lost. The caller holds mu.
func (t *Target) post(s *stream, m any) bool {
	select {
	case s.send <- m:
		return true
	default:
		return false
	}
}

// mayWrite says whether a writer with the election id is the primary.
func (t *Target) mayWrite(device uint64, id electionID) error {
	if device != t.opts.DeviceID {
		return status.Errorf(codes.NotFound, "device %d is not here", device)
	}
	if t.primary == nil || t.primary.election != id {
		return status.Error(codes.PermissionDenied, "Not primary")
	}
	return nil
}
