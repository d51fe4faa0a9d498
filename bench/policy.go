package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/oftest"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
)

// Kinds of policy that [Policies] measures.
const (
	KindBlocklist = "blocklist" // single IPv4 addresses
	KindHeader    = "header"    // rules of protocol, addresses and port, every tenth a deny
)

// PolicyRow is one policy's cost.
type PolicyRow struct {
	Kind    string        `json:"kind"`
	Entries int           `json:"entries"`
	Compile time.Duration `json:"-"`
	Heap    int64         `json:"heap_bytes"` // of the compiled policy
	Allowed stats.Latency `json:"allowed"`    // of one decision about a packet that no entry matches
	Denied  stats.Latency `json:"denied"`     // and of one that an entry denies
	Seconds float64       `json:"compile_s"`
}

// Policies measures how long the controller, in this process, decides by
// policies of the given sizes: 500 and 1,000,000 entries should be as fast.
// each is how many decisions of either verdict are timed.
func Policies(ctx context.Context, sizes []int, each int) ([]PolicyRow, error) {
	var rows []PolicyRow
	for _, kind := range []string{KindBlocklist, KindHeader} {
		for _, n := range sizes {
			if err := ctx.Err(); err != nil {
				return rows, fmt.Errorf("bench policy: %w", err)
			}
			row, err := measurePolicy(ctx, kind, n, each)
			if err != nil {
				return rows, fmt.Errorf("bench policy: %s of %d entries: %w", kind, n, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// blockedAddr is entry i of a policy: 11.0.0.0/8 and what follows it, scattered.
func blockedAddr(i int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 11<<24+uint32(i)*7)
	return netip.AddrFrom4(a)
}

func sourceOf(kind string, n int) policy.Source {
	if kind == KindBlocklist {
		list := blocklist.List{Prefixes: make([]netip.Prefix, n)}
		for i := range n {
			list.Prefixes[i] = netip.PrefixFrom(blockedAddr(i), 32)
		}
		return &blocklist.Config{Lists: []blocklist.List{list}}
	}
	cfg := &header.Config{Rules: make([]header.Rule, n)}
	for i := range n {
		r := &cfg.Rules[i]
		r.Priority = uint16(1 + i%50_000)
		r.Match.Header.SetEthType(flow.EthTypeIPv4)
		r.Match.Header.SetIPProto(flow.ProtoTCP)
		r.Match.Header.SetIPDst(netip.PrefixFrom(blockedAddr(i), 32))
		r.Match.Dst = &header.PortRange{First: 443, Last: 443}
		r.Action.Deny = i%10 == 0
	}
	return cfg
}

func measurePolicy(ctx context.Context, kind string, n, each int) (PolicyRow, error) {
	row := PolicyRow{Kind: kind, Entries: n}
	if n < 1 || each < 1 {
		return row, fmt.Errorf("want at least one entry and one decision")
	}
	p := forward.Default()
	p.Chain = append([]policy.Source{sourceOf(kind, n)}, p.Chain...)
	if err := p.Validate(); err != nil {
		return row, err
	}
	before := heap()
	start := time.Now()
	c := controller.New(p)
	row.Compile = time.Since(start)
	row.Seconds = row.Compile.Seconds()
	row.Heap = max(0, heap()-before) // a small one drowns in what the collector frees

	sw := &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, Ports: oftest.Ports(4)}
	time1 := func(want flow.Verdict, dst func(i int) netip.Addr) (stats.Latency, error) {
		const batch = 64 // decisions timed together: one is near the clock's own cost
		var h stats.Histogram
		var d flow.Decision
		events := make([]flow.Event, batch)
		for i := 0; i < each; i += batch {
			for j := range events {
				frame := frames.TCP(frames.Host(1).At(uint16(1024+i%50_000)), frames.Endpoint{MAC: flow.MAC{2}, IP: dst(i + j), Port: 443}, frames.SYN, nil)
				events[j] = flow.Event{Type: flow.EventPacketIn, XID: 1, Switch: sw, PacketIn: &flow.PacketIn{BufferID: flow.NoBuffer, TotalLen: len(frame), Data: frame, Match: flow.ParseFrame(frame, 1)}}
			}
			begin := time.Now()
			for j := range events {
				d.Reset()
				if err := c.Decide(ctx, &events[j], &d); err != nil {
					return stats.Latency{}, err
				}
				if d.Verdict != want {
					return stats.Latency{}, fmt.Errorf("%v is %v (%s), want %v", events[j].PacketIn.Match, d.Verdict, d.Reason, want)
				}
			}
			h.Record(time.Since(begin) / batch)
		}
		return h.Latency(), nil
	}
	var err error
	if row.Allowed, err = time1(flow.Allow, func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}) }); err != nil {
		return row, err
	}
	row.Denied, err = time1(flow.Deny, func(i int) netip.Addr { return blockedAddr(i * 7919 % ((n + 9) / 10) * 10) })
	runtime.KeepAlive(c)
	return row, err
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// WritePolicies writes rows for a person.
func WritePolicies(w io.Writer, rows []PolicyRow) error {
	p := &printer{w: w}
	p.f("%-10s %9s %12s %10s %14s %14s\n", "policy", "entries", "compile", "heap MB", "allowed p50 ns", "denied p50 ns")
	for _, r := range rows {
		p.f("%-10s %9d %12v %10.1f %14d %14d\n", r.Kind, r.Entries, r.Compile.Round(time.Millisecond), float64(r.Heap)/1e6, r.Allowed.P50.Nanoseconds(), r.Denied.P50.Nanoseconds())
	}
	return p.err
}
