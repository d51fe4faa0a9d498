package decider

import (
	"testing"

	"switchbridge/flow"
)

func TestCookie(t *testing.T) {
	v := flow.PolicyVersion{Serial: 7, Hash: 0xdeadbeef}
	c := GatewayID(0x1234).Cookie(v, 0x89abcdef)
	g, tag, decision := SplitCookie(c)
	if g != 0x1234 || tag != Tag(v) || decision != 0x89abcdef {
		t.Fatalf("cookie %#x splits into %#x %#x %#x", c, g, tag, decision)
	}
	if !GatewayID(0x1234).Owns(c) || GatewayID(0x1235).Owns(c) {
		t.Error("ownership")
	}
	if c&GatewayMask != 0x1234<<48 || c&VersionMask != 0x1234<<48|uint64(Tag(v))<<32 {
		t.Errorf("masks of %#x", c)
	}
}

func TestTag(t *testing.T) {
	if Tag(flow.PolicyVersion{}) != 0 {
		t.Error("no version has a tag")
	}
	for serial := range uint64(1 << 18) { // many times as many as there are tags
		if v := (flow.PolicyVersion{Serial: serial, Hash: 1}); Tag(v) == 0 {
			t.Fatalf("version %v looks like none", v)
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
