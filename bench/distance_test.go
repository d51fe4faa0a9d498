package bench

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"switchbridge/internal/netns"
)

func serveEcho(t *testing.T) net.Listener {
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
	return echo
}

// An echo through a Distance takes a round trip more, a new connection two, and
// everything arrives in order.
func TestDistance(t *testing.T) {
	echo := serveEcho(t)
	const delay, jitter = 20 * time.Millisecond, 5 * time.Millisecond
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Distance{Target: echo.Addr().String(), Delay: delay, Jitter: jitter}.Serve(ctx, ln) }()

	start := time.Now() // the first echo's time begins before the connection does
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 1)
	for i, trips := range []time.Duration{2, 1, 1} {
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil || b[0] != byte(i) {
			t.Fatal(b, err)
		}
		if got, least := time.Since(start), trips*2*delay-2*jitter; got < least {
			t.Errorf("echo %d took %v, want at least %v", i, got, least)
		}
		start = time.Now()
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

// The same through a namespace: without a delay where the machine lets us make
// one, and with one where the kernel has netem.
func TestDistanceByKernel(t *testing.T) {
	ns, err := netns.New()
	if err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	ns.Close()
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			if delay > 0 {
				if err := NetemMissing(); err != nil {
					t.Skip(err)
				}
			}
			echo := serveEcho(t)
			ctx, cancel := context.WithCancel(t.Context())
			addr, wait, err := Distance{Target: echo.Addr().String(), Delay: delay, Jitter: delay / 10}.Far(ctx, true)
			if err != nil {
				t.Fatal(err)
			}
			defer wait()
			defer cancel()
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b := make([]byte, 5)
			for range 3 {
				start := time.Now()
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
					t.Fatalf("%q, %v", b, err)
				}
				if took := time.Since(start); took < 2*(delay-delay/10) {
					t.Errorf("an echo over twice %v took %v", delay, took)
				}
			}
		})
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
