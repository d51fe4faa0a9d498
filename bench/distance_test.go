package bench

import (
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// An echo through a Distance takes a round trip more, a new connection two, and
// everything arrives in order.
func TestDistance(t *testing.T) {
	echo := listen(t)
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	const delay, jitter = 20 * time.Millisecond, 5 * time.Millisecond
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Distance{echo.Addr().String(), delay, jitter}.Serve(ctx, ln) }()

	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 1)
	for i, trips := range []time.Duration{2, 1, 1} {
		start := time.Now()
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil || b[0] != byte(i) {
			t.Fatal(b, err)
		}
		if got, least := time.Since(start), trips*2*delay-2*jitter; got < least {
			t.Errorf("echo %d took %v, want at least %v", i, got, least)
		}
	}
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	go func() { c.Write(sent); c.(*net.TCPConn).CloseWrite() }()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != string(sent) {
		t.Errorf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDistanceToNobody(t *testing.T) {
	gone := listen(t)
	gone.Close()
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go Distance{Target: gone.Addr().String()}.Serve(ctx, ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes from nobody, %v", n, err)
	}
}

func TestThisMachine(t *testing.T) {
	if m := ThisMachine(); m.Cores < 1 || m.Memory < 1<<20 || m.Kernel == "unknown" || m.String() == "" {
		t.Errorf("%+v", m)
	}
}
