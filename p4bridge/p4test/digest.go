package p4test

import (
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
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
