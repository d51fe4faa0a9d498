package netns

import (
	"net"
	"strings"
	"testing"
)

// What listens in a namespace is reached there, and not from outside.
func TestNamespace(t *testing.T) {
	ns, err := New()
	if err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	defer ns.Close()
	ln, err := ns.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		c.Close()
		t.Error("it is reached from outside")
	}
	c, err := ns.Dial(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	out, err := ns.Command("ip", "-o", "addr", "show", "up").Output()
	if err != nil {
		t.Skip(err)
	}
	if want := "127.0.0.1/8"; !strings.Contains(string(out), want) {
		t.Errorf("%s has no %s", out, want)
	}
}
