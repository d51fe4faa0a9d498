package failover

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/internal/ovs"
)

// Ports of the traffic, and its pace.
const (
	newPort, installedPort, deniedPort = 7000, 7001, 9

	newEvery       = 5 * time.Millisecond
	installedEvery = 10 * time.Millisecond
	deniedEvery    = 50 * time.Millisecond
	lateBy         = 300 * time.Millisecond // how long a datagram may take
)

// traffic is what the hosts say to each other all the time.
type traffic struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	denied atomic.Int64

	mu        sync.Mutex
	sent      []time.Time // of new conversations, by number
	arrived   []uint8     // how often each arrived
	installed []time.Time // when datagrams of the installed conversation arrived
}

// seen is what became of the traffic since a moment.
type seen struct {
	sent, lost, twice int
	refused           time.Duration // from that moment to the last datagram that was lost
	silence           time.Duration // the longest pause of the installed conversation
}

func startTraffic(from, to *ovs.Host) (*traffic, error) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &traffic{cancel: cancel}
	for port, take := range map[int]func(seq uint64){newPort: t.came, installedPort: func(uint64) { t.goesOn() }, deniedPort: func(uint64) { t.denied.Add(1) }} {
		c, err := to.ListenPacket("udp4", addrOf(to, port).String())
		if err != nil {
			t.stop()
			return nil, err
		}
		t.wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			var b [64]byte
			for {
				n, _, err := c.ReadFrom(b[:])
				if err != nil {
					return
				}
				if n >= 8 {
					take(binary.BigEndian.Uint64(b[:]))
				}
			}
		})
	}
	same, err := from.Dial(ctx, "udp4", addrOf(to, installedPort).String())
	if err != nil {
		t.stop()
		return nil, err
	}
	t.every(ctx, installedEvery, func(seq uint64) { send(same, seq) })
	t.every(ctx, newEvery, func(uint64) {
		c, err := from.Dial(ctx, "udp4", addrOf(to, newPort).String()) // a port of its own
		if err != nil {
			return
		}
		send(c, t.goes())
		c.Close()
	})
	t.every(ctx, deniedEvery, func(seq uint64) {
		if c, err := from.Dial(ctx, "udp4", addrOf(to, deniedPort).String()); err == nil {
			send(c, seq)
			c.Close()
		}
	})
	return t, nil
}

func addrOf(h *ovs.Host, port int) netip.AddrPort { return netip.AddrPortFrom(h.IP, uint16(port)) }

func send(c net.Conn, seq uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seq)
	_, _ = c.Write(b[:]) // what is not sent is lost
}

func (t *traffic) every(ctx context.Context, d time.Duration, f func(seq uint64)) {
	t.wg.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for seq := uint64(0); ; seq++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				f(seq)
			}
		}
	})
}

func (t *traffic) stop() {
	t.cancel()
	t.wg.Wait()
}

// goes numbers a new conversation.
func (t *traffic) goes() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent, t.arrived = append(t.sent, time.Now()), append(t.arrived, 0)
	return uint64(len(t.sent) - 1)
}

func (t *traffic) came(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq < uint64(len(t.arrived)) && t.arrived[seq] < 255 {
		t.arrived[seq]++
	}
}

func (t *traffic) goesOn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.installed = append(t.installed, time.Now())
}

func (t *traffic) forbidden() int64 { return t.denied.Load() }

// since sums up what was sent after a moment, and may have arrived by now.
func (t *traffic) since(begin time.Time) (s seen) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := time.Now().Add(-lateBy)
	for i, at := range t.sent {
		if at.Before(begin) || at.After(end) {
			continue
		}
		s.sent++
		switch t.arrived[i] {
		case 0:
			s.lost++
			s.refused = at.Sub(begin)
		case 1:
		default:
			s.twice++
		}
	}
	last := begin
	for _, at := range t.installed {
		if at.Before(begin) {
			continue
		}
		if !last.IsZero() {
			s.silence = max(s.silence, at.Sub(last))
		}
		last = at
	}
	return s
}
