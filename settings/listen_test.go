package settings

import "testing"

// A bridge's target leads to a listener or not, as Open vSwitch and the gateway take their words.
func TestListenTakes(t *testing.T) {
	for _, tt := range []struct {
		listen, target string
		takes          bool
	}{
		{"tcp:127.0.0.1:6653", "tcp:127.0.0.1:6653", true},
		{"tcp:127.0.0.1:6653", "tcp:127.0.0.1", true}, // 6653 is Open vSwitch's default
		{"tcp:127.0.0.1:6633", "tcp:127.0.0.1", false},
		{"tcp:127.0.0.1:6653", "tcp:127.0.0.1:6633", false},
		{"tcp:127.0.0.1:6653", "ssl:127.0.0.1:6653", false},
		{"ssl:127.0.0.1:6653", "ssl:127.0.0.1:6653", true},
		{"tcp:127.0.0.1:6653", "tcp:10.0.0.1:6653", false},
		{"tcp:0.0.0.0:6653", "tcp:10.0.0.1:6653", true},
		{"tcp::6653", "tcp:[2001:db8::1]:6653", true},
		{"tcp:[::]:6653", "tcp:[::1]", true},
		{"tcp:localhost:6653", "tcp:127.0.0.1:6653", true},
		{"tcp:localhost:6653", "tcp:10.0.0.1:6653", false},
		{"unix:/run/of.sock", "unix:/run/of.sock", true},
		{"unix:/run/of.sock", "unix:/run/other.sock", false},
		{"unix:/run/of.sock", "tcp:127.0.0.1:6653", false},
		{"tcp:127.0.0.1:6653", "ptcp:6653", false},
		{"tcp:127.0.0.1:6653", "", false},
	} {
		l, err := ParseListen(tt.listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Takes(tt.target); got != tt.takes {
			t.Errorf("%s takes %q: %v, want %v", tt.listen, tt.target, got, tt.takes)
		}
	}
	for listen, want := range map[string]string{"tcp:127.0.0.1:6653": "tcp:127.0.0.1:6653", "tcp:0.0.0.0:6653": "tcp:127.0.0.1:6653", "tcp::6633": "tcp:127.0.0.1:6633",
		"tcp:localhost:6653": "tcp:127.0.0.1:6653", "tcp:10.0.0.1:6653": "tcp:10.0.0.1:6653", "ssl:[::]:6653": "ssl:127.0.0.1:6653", "unix:/run/of.sock": "unix:/run/of.sock"} {
		l, err := ParseListen(listen)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Target(); got != want || !l.Takes(got) {
			t.Errorf("a bridge connects to %s by %s, want %s", listen, got, want)
		}
	}
}
