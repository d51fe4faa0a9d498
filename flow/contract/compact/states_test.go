package compact

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

// stateful is an event of a packet with all that a decision by states looks at.
func stateful() *flow.Event {
	ev := newEvent(tcp4())
	ev.Time, ev.ID = time.Unix(1234, 5678), "event-1"
	ev.PacketIn.TCPFlags, ev.PacketIn.HasTCPFlags = flow.SYN|flow.ECE, true
	ev.States = []flow.State{{Data: []byte("own")}, {}, {Data: bytes.Repeat([]byte{7}, flow.MaxState)}}
	return ev
}

func TestEventsWithStates(t *testing.T) {
	got := blank() // one for all, and with events without states between them
	plain, _ := AppendEvent(nil, newEvent(tcp4()))
	for name, change := range map[string]func(*flow.Event){
		"all":      func(*flow.Event) {},
		"no flags": func(ev *flow.Event) { ev.PacketIn.TCPFlags, ev.PacketIn.HasTCPFlags = 0, false },
		"no id":    func(ev *flow.Event) { ev.ID = "" },
		"one":      func(ev *flow.Event) { ev.States = ev.States[:1] },
	} {
		want := stateful()
		change(want)
		b, ok := AppendEvent(nil, want)
		if !ok {
			t.Fatalf("%s doesn't fit", name)
		}
		if err := ParseEvent(b, got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v %+v\nwant %+v %+v", name, err, got, got.PacketIn, want, want.PacketIn)
		}
		if name != "all" {
			malformed(t, name, b[:len(b):len(b)], func(b []byte) error { return ParseEvent(b, blank()) })
		}
		if err := ParseEvent(plain, got); err != nil || len(got.States) != 0 {
			t.Errorf("after it an event without states has %d, %v", len(got.States), err)
		}
	}
	for name, change := range map[string]func(*flow.Event){
		"256 states": func(ev *flow.Event) { ev.States = make([]flow.State, 256) },
		"a long id":  func(ev *flow.Event) { ev.ID = strings.Repeat("x", 1<<16) },
	} {
		ev := stateful()
		change(ev)
		if _, ok := AppendEvent(nil, ev); ok {
			t.Errorf("%s fits", name)
		}
	}
}

// The TCP flags in the data of a packet go along.
func TestFlagsOfData(t *testing.T) {
	ev := stateful()
	ev.PacketIn.HasTCPFlags = false
	frame := make([]byte, 14+20+20)
	frame[12], frame[14], frame[17] = 0x08, 0x45, 40
	frame[14+20+13] = byte(flow.ACK)
	ev.PacketIn.Data = frame
	b, ok := AppendEvent(nil, ev)
	got := blank()
	if err := ParseEvent(b, got); !ok || err != nil || got.PacketIn.TCPFlags != flow.ACK || !got.PacketIn.HasTCPFlags {
		t.Errorf("fits %v, %v, %+v", ok, err, got.PacketIn)
	}
}

func TestChanges(t *testing.T) {
	m := tcp4()
	for name, c := range map[string]*flow.StateChange{
		"all": {Index: 2, Data: []byte("new"), TTL: time.Hour}, "forgotten": {}, "largest": {Index: 255, Data: make([]byte, flow.MaxState)},
	} {
		j := judgement()
		j.Change = c
		var want flow.Decision
		j.Spell(&m, &want)
		short, ok1 := AppendJudgement(nil, &j)
		whole, ok2 := AppendDecision(nil, &want)
		if !ok1 || !ok2 {
			t.Fatalf("%s doesn't fit", name)
		}
		for _, b := range [][]byte{short, whole} {
			var got flow.Decision
			if err := new(Reader).Parse(b, &m, &got); err != nil || !same(&got, &want) || !reflect.DeepEqual(got.Change, c) {
				t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got.Change, c)
			}
			if len(b) < 1000 {
				malformed(t, name, b, func(b []byte) error { return new(Reader).Parse(b, &m, new(flow.Decision)) })
			}
			clear(b) // it is the guest's memory
			if !reflect.DeepEqual(got.Change, c) {
				t.Errorf("%s: the change shares the answer's memory", name)
			}
		}
	}
	for name, c := range map[string]*flow.StateChange{
		"index": {Index: 256}, "negative": {Index: -1}, "large": {Data: make([]byte, flow.MaxState+1)}, "time": {TTL: -1},
	} {
		j := judgement()
		j.Change = c
		if _, ok := AppendJudgement(nil, &j); ok {
			t.Errorf("%s fits", name)
		}
		b := append(make([]byte, 0, 8192), "before"...)
		if c.Index >= 0 && c.TTL >= 0 {
			h := make([]byte, changeHeader)
			le.PutUint32(h, uint32(c.Index))
			le.PutUint32(h[4:], uint32(len(c.Data)))
			if _, _, err := parseChange(append(append(b[6:], h...), c.Data...)); err == nil {
				t.Errorf("%s is read", name)
			}
		}
	}
}
