package p4test

import (
	"errors"
	"slices"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// digestState is a digest as it was configured, and the two filters that keep
// repeats from the controller: BMv2's own, which works by time alone, and PI's,
// which also waits for the acknowledgement and is there only with an
// ack_timeout.
type digestState struct {
	config  *p4v1.DigestEntry_Config
	list    uint64
	cached  map[string]time.Time
	pending map[uint64]map[string]time.Time // by list
}

func (t *Target) updateDigest(op p4v1.Update_Type, e *p4v1.DigestEntry) error {
	if t.pl.DigestByID(e.GetDigestId()) == nil {
		return status.Errorf(codes.NotFound, "digest %#x is not in the pipeline", e.GetDigestId())
	}
	have := t.digest[e.GetDigestId()]
	switch op {
	case p4v1.Update_INSERT:
		if have != nil {
			return status.Error(codes.AlreadyExists, "Digest already configured")
		}
		t.digest[e.GetDigestId()] = &digestState{config: e.GetConfig(), cached: map[string]time.Time{}, pending: map[uint64]map[string]time.Time{}}
	case p4v1.Update_MODIFY:
		if have == nil {
			return status.Error(codes.NotFound, "Digest not configured")
		}
		have.config = e.GetConfig()
	case p4v1.Update_DELETE:
		delete(t.digest, e.GetDigestId())
	}
	return nil
}

// Digest sends the samples as one list, as far as the filters let them pass,
// and reports how many went. The name is P4Info's.
func (t *Target) Digest(name string, samples ...*p4v1.P4Data) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pl == nil || t.pl.Digest(name) == nil {
		t.stats.DigestsLost += len(samples)
		return 0
	}
	return t.sendDigest(t.pl.Digest(name).ID, samples, time.Now())
}

func (t *Target) sendDigest(id uint32, samples []*p4v1.P4Data, now time.Time) int {
	d := t.digest[id]
	if d == nil || t.primary == nil {
		t.stats.DigestsLost += len(samples)
		return 0
	}
	timeout := time.Duration(d.config.GetAckTimeoutNs())
	fresh := make([]*p4v1.P4Data, 0, len(samples))
	keys := map[string]time.Time{}
	for _, s := range samples {
		b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(s)
		k := string(b)
		if now.Sub(d.cached[k]) < t.opts.CacheTime || d.waiting(k, now, timeout) {
			t.stats.DigestsLost++
			continue
		}
		d.cached[k], keys[k] = now, now
		fresh = append(fresh, s)
	}
	if len(d.cached) > 1<<16 { // swept, as BMv2 does, so that a flood costs no memory
		clear(d.cached)
	}
	if len(fresh) == 0 {
		return 0
	}
	d.list++
	if timeout > 0 {
		d.pending[d.list] = keys
	}
	ok := t.post(t.primary, &p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Digest{Digest: &p4v1.DigestList{
		DigestId: id, ListId: d.list, Data: fresh, Timestamp: now.UnixNano(),
	}}})
	if !ok {
		t.stats.DigestsLost += len(fresh)
		return 0
	}
	t.stats.Digests += len(fresh)
	return len(fresh)
}

// Flood offers total samples at a rate, in lists of perList, one after another
// and again from the start: the load of a switch whose filters let everything
// pass. Lists are encoded beforehand, so that offering them costs little beside
// reading them. It reports how many samples found room on the way to the
// controller, the others are lost, as they are in BMv2 when its queue is full;
// and how long it took.
func (t *Target) Flood(name string, samples []*p4v1.P4Data, perList, perSecond, total int) (sent int, took time.Duration, err error) {
	t.mu.Lock()
	s := t.primary
	if t.pl == nil || t.pl.Digest(name) == nil || s == nil {
		t.mu.Unlock()
		return 0, 0, errors.New("p4test: no such digest, or no controller")
	}
	id := t.pl.Digest(name).ID
	t.mu.Unlock()
	var lists []*grpc.PreparedMsg
	for chunk := range slices.Chunk(samples, perList) {
		m := new(grpc.PreparedMsg)
		if err := m.Encode(s.srv, &p4v1.StreamMessageResponse{Update: &p4v1.StreamMessageResponse_Digest{Digest: &p4v1.DigestList{
			DigestId: id, ListId: uint64(len(lists) + 1), Data: chunk,
		}}}); err != nil {
			return 0, 0, err
		}
		lists = append(lists, m)
	}
	start := time.Now()
	for i := 0; i*perList < total; i++ {
		for i*perList >= int(time.Since(start).Seconds()*float64(perSecond)) {
			time.Sleep(time.Millisecond)
		}
		t.mu.Lock()
		if t.post(s, lists[i%len(lists)]) {
			sent += perList
			t.stats.Digests += perList
		} else {
			t.stats.DigestsLost += perList
		}
		t.mu.Unlock()
	}
	return sent, time.Since(start), nil
}

func (d *digestState) waiting(k string, now time.Time, timeout time.Duration) bool {
	for _, keys := range d.pending {
		if at, ok := keys[k]; ok && now.Sub(at) < timeout {
			return true
		}
	}
	return false
}

func (t *Target) ack(a *p4v1.DigestListAck) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Acks++
	if d := t.digest[a.GetDigestId()]; d != nil {
		delete(d.pending, a.GetListId())
	}
}
