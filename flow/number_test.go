package flow

import "testing"

func TestParseNumber(t *testing.T) {
	for s, want := range map[string]uint64{"0": 0, "7": 7, "10": 10, "65535": 65535, "0x0": 0, "0x1f": 31, "0X1F": 31, "0x0001": 1} {
		if v, err := ParseNumber(s, 16); err != nil || v != want {
			t.Errorf("%q is %d (%v), want %d", s, v, err, want)
		}
	}
	for _, s := range []string{"", "x", "010", "00", "0b11", "0o7", "1_0", "0x_1", "0x", "+1", "-1", "1.0", " 1", "1 ", "65536", "0x10000", "99999999999999999999", "1e3", "١"} {
		if v, err := ParseNumber(s, 16); err == nil {
			t.Errorf("%q is %d", s, v)
		}
	}
	if v, err := ParseNumber("18446744073709551615", 64); err != nil || v != 1<<64-1 {
		t.Errorf("64 bits: %d (%v)", v, err)
	}
	for _, s := range []string{"010", "0b11", "1_0", "LOCALE"} {
		if p, err := ParsePort(s); err == nil {
			t.Errorf("port %q is %v", s, p)
		}
	}
	if p, err := ParsePort("0x10"); err != nil || p != 16 {
		t.Errorf("port 0x10 is %v (%v)", p, err)
	}
}
