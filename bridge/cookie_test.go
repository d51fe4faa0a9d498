package bridge

import (
	"testing"

	"switchbridge/flow"
)

func TestCookie(t *testing.T) {
	v := flow.PolicyVersion{Serial: 7, Hash: 0xdeadbeef}
	c := GatewayID(0x1234).Cookie(v, 0x09abcdef)
	g, tag, decision := SplitCookie(c)
	if g != 0x1234 || tag != tagOf(v) || decision != 0x09abcdef {
		t.Fatalf("cookie %#x splits into %#x %#x %#x", c, g, tag, decision)
	}
	if restsOnState(c) || !restsOnState(c|stateBit) {
		t.Errorf("cookie %#x: the bit of rules that rest on a state", c)
	}
	if _, _, n := SplitCookie(c | stateBit); n != decision || GatewayID(0x1234).Cookie(v, 1<<31|decision) != c {
		t.Errorf("cookie %#x: the bit of rules that rest on a state is part of the number", c)
	}
	if !GatewayID(0x1234).Owns(c) || GatewayID(0x1235).Owns(c) {
		t.Error("ownership")
	}
	if c&gatewayMask != 0x1234<<48 || c&versionMask != 0x1234<<48|uint64(tagOf(v))<<32 {
		t.Errorf("masks of %#x", c)
	}
}

func TestTag(t *testing.T) {
	if tagOf(flow.PolicyVersion{}) != unversioned {
		t.Error("no version has a version's tag")
	}
	for serial := range uint64(1 << 18) { // many times as many as there are tags
		if tag := tagOf(flow.PolicyVersion{Serial: serial, Hash: 1}); tag == 0 || tag == unversioned {
			t.Fatalf("serial %d has the tag %#x, which no version may have", serial, tag)
		}
	}
}

// Other controllers' cookies may begin as ours do.
func TestOwns(t *testing.T) {
	for cookie, want := range map[uint64]bool{
		0x0001_0000_0000_0000: true,  // set up by the gateway itself
		0x0001_1234_0000_0007: true,  // a decision's
		0x0001_ffff_0000_0007: true,  // of a function without versions
		0x0001_0000_9465_555a: false, // as ONOS writes them
		0x0002_1234_0000_0007: false,
		0:                     false, 7: false,
	} {
		if got := GatewayID(1).Owns(cookie); got != want {
			t.Errorf("cookie %#x is ours: %v, want %v", cookie, got, want)
		}
	}
}

func TestGatewayID(t *testing.T) {
	for id, ok := range map[GatewayID]bool{0: false, 1: true, 0xfffe: true, 0xffff: false} {
		if err := id.Validate(); (err == nil) != ok {
			t.Errorf("%#x: %v", uint16(id), err)
		}
	}
}
