package test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchbridge/settings"
	"switchbridge/test/ovs"
)

// The README's function in another language governs a real switch as it stands
// there, but for its port.
func TestReadmeFunction(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing, which the example is written in")
	}
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(text), "```python\n")
	code, _, ok2 := strings.Cut(code, "```")
	if !ok || !ok2 {
		t.Fatal("README.md has no Python block")
	}
	if lines := strings.Count(strings.TrimSpace(code), "\n") + 1; lines > 25 {
		t.Errorf("the example has %d lines; it is to be read at a glance", lines)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	if !strings.Contains(code, "8080") {
		t.Fatal("the example does not listen on port 8080")
	}
	script := filepath.Join(t.TempDir(), "function.py")
	if err := os.WriteFile(script, []byte(strings.Replace(code, "8080", port, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	sw := ovs.Start(t, ovs.Options{})
	set := settings.Default()
	set.Function.URLs = []string{"http://127.0.0.1:" + port}
	set.Function.Encoding = "json"
	listener := sw.Listen()
	g := startGateway(t, set, listener)
	sw.AddBridge("br0", ovs.Bridge{Controllers: []string{ovs.Target(listener)}})
	h1, h2 := sw.AddHost("br0", "h1"), sw.AddHost("br0", "h2")
	h2.ServeEcho(80)
	sw.WaitConnected("br0")
	eventually(t, "the example answers", func() bool { return g.Ready() == nil })
	if _, err := h1.Ping(h2.IP, 5*time.Second); err != nil {
		t.Errorf("ICMP: %v", err)
	}
	l := &lab{t: t, sw: sw}
	l.dropped("tcp", func() {
		if _, err := h1.Connect(h2.IP, 80, 1500*time.Millisecond); err == nil {
			t.Error("TCP passes")
		}
	})
}
