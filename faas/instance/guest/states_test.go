package guest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"switchbridge/flow"
)

func TestStates(t *testing.T) {
	want := []flow.State{{Data: []byte("own")}, {}, {Data: []byte{0}}}
	b := AppendStates(nil, want)
	if got, err := ParseStates(nil, b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for n, whole := range map[int]bool{0: true, 7: true, 11: true} {
		if _, err := ParseStates(nil, b[:n]); (err == nil) != whole {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	for n := range b {
		if _, err := ParseStates(nil, b[:n]); err != nil && !errors.Is(err, ErrEnvelope) {
			t.Errorf("cut to %d: %v", n, err)
		}
	}
	if _, err := ParseStates(nil, make([]byte, 4*256)); err == nil {
		t.Error("256 states are read")
	}
}

func TestChange(t *testing.T) {
	for _, want := range []*flow.StateChange{{Index: 3, Data: []byte("new"), TTL: time.Hour}, {}, {Data: make([]byte, flow.MaxState)}} {
		b := AppendChange(nil, want)
		got, err := ParseChange(b)
		clear(b) // it is the guest's memory
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	for name, c := range map[string]*flow.StateChange{"index": {Index: 256}, "time": {TTL: -1}, "large": {Data: make([]byte, flow.MaxState+1)}} {
		if _, err := ParseChange(AppendChange(nil, c)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := ParseChange(make([]byte, changeHeader-1)); err == nil {
		t.Error("a change without a header is read")
	}
}
