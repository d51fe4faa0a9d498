package ofproxy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// polledPair is a polled connection and its peer.
func polledPair(t *testing.T, p *pollers) (*polled, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := p.wrap(conn).(*polled)
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer
}

func TestPolledConnectionLosesNothing(t *testing.T) {
	c, peer := polledPair(t, &pollers{share: 1})
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	go func() {
		for b := sent; len(b) > 0; {
			n := min(len(b), 1+int(b[0])*17)
			peer.Write(b[:n])
			b = b[n:]
		}
		peer.Close()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came (%v), want the %d that were sent", len(got), err, len(sent))
	}
}

func TestPolledConnectionEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(c *polled, peer net.Conn)
		want error
	}{
		"deadline in the past": {func(c *polled, _ net.Conn) { c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"deadline ahead":       {func(c *polled, _ net.Conn) { c.SetReadDeadline(time.Now().Add(time.Millisecond)) }, os.ErrDeadlineExceeded},
		"closed here":          {func(c *polled, _ net.Conn) { c.Close() }, net.ErrClosed},
		"closed there":         {func(_ *polled, peer net.Conn) { peer.Close() }, io.EOF},
		"reset":                {func(_ *polled, peer net.Conn) { peer.(*net.TCPConn).SetLinger(0); peer.Close() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, peer := polledPair(t, &pollers{share: 1})
			test.end(c, peer)
			n, err := c.Read(make([]byte, 100))
			if n != 0 || err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("%d bytes and %v, want %v", n, err, test.want)
			}
		})
	}
}

// TestPollingIsGivenUp shows that a switch that is silent costs nothing after its fourth
// silence, and that one whose next message comes at once is polled again.
func TestPollingIsGivenUp(t *testing.T) {
	p := &pollers{share: 1}
	c, peer := polledPair(t, p)
	b := make([]byte, 100)
	for i := 0; c.misses < pollMisses; i++ { // on a busy machine not every read polls
		if i == 1000 {
			t.Fatalf("%d misses are counted, want %d", c.misses, pollMisses)
		}
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		c.Read(b)
	}
	before := p.at
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	c.Read(b)
	if p.at != before {
		t.Error("a connection that gave up polled")
	}
	c.SetReadDeadline(time.Time{})
	for i := 0; c.misses == pollMisses; i++ {
		if i == 1000 {
			t.Fatal("what was there at once did not make the connection poll again")
		}
		peer.Write([]byte("x"))
		c.Read(b)
	}
}

func TestPollingIsBounded(t *testing.T) {
	cores := runtime.GOMAXPROCS(0)
	t.Run("share of a core", func(t *testing.T) {
		p := &pollers{share: 0.25}
		now := time.Now()
		p.refill(now)
		polls := 0
		for ; p.credit > 0; polls++ {
			p.polling.Add(1)
			p.done(now, now.Add(pollTime), false)
			now = now.Add(pollTime)
		}
		// The quarter that came in meanwhile, and what was saved.
		most := time.Duration(float64(polls)*float64(pollTime)*0.25) + time.Duration(0.25*float64(pollCredit)) + pollTime
		if spent := time.Duration(polls) * pollTime; spent > most {
			t.Errorf("%v were polled, want %v at most", spent, most)
		}
	})
	t.Run("more switches than cores", func(t *testing.T) {
		p := &pollers{share: 1}
		p.conns.Store(int32(cores) + 1)
		if p.may() {
			t.Error("polls")
		}
	})
	t.Run("a core is left", func(t *testing.T) {
		p := &pollers{share: 1}
		for range cores - 1 {
			if !p.may() {
				t.Fatal("does not poll")
			}
		}
		if p.may() {
			t.Error("polls on the last core")
		}
	})
	t.Run("lost core", func(t *testing.T) {
		p := &pollers{share: 1}
		if cores < 2 {
			t.Skip("one core: nothing polls")
		}
		if !p.may() {
			t.Fatal("does not poll")
		}
		now := time.Now()
		p.done(now, now.Add(pollTime), true)
		if p.may() {
			t.Error("polls at once after the kernel gave the core to another")
		}
	})
	t.Run("closed twice", func(t *testing.T) {
		p := &pollers{share: 1}
		c, _ := polledPair(t, p)
		c.Close()
		c.Close()
		if n := p.conns.Load(); n != 0 {
			t.Errorf("%d connections are counted, want 0", n)
		}
	})
}
