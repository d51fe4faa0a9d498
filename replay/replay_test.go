package replay

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"switchbridge/bench"
	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
)

type packet struct {
	at    time.Duration
	frame []byte
}

func pcap(t testing.TB, packets ...packet) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: time.Unix(1e9, 0).Add(p.at), CaptureLength: len(p.frame), Length: len(p.frame)}
		if err := w.WritePacket(ci, p.frame); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// syn begins flow n of host h.
func syn(h uint8, n uint16) []byte {
	return frames.TCP(frames.Host(h).At(n), frames.Host(200).At(80), frames.SYN, nil)
}

// flowsEvery makes n packets of different flows, a gap apart.
func flowsEvery(n int, gap time.Duration) (list []packet) {
	for i := range n {
		list = append(list, packet{time.Duration(i) * gap, syn(uint8(1+i%100), uint16(1000+i))})
	}
	return list
}

// memory keeps records.
type memory struct{ list []Record }

func (m *memory) Record(r *Record) error { m.list = append(m.list, *r); return nil }
func (m *memory) Flush() error           { return nil }

func allow(_ context.Context, _ *flow.Event, d *flow.Decision) error {
	d.Verdict = flow.Allow
	d.Rules = append(d.Rules, flow.Rule{Actions: []flow.Action{flow.OutputTo(flow.PortNormal)}})
	return nil
}

func fromPcap(t testing.TB, decide flow.DeciderFunc, packets ...packet) Config {
	return Config{Files: []string{"-"}, Stdin: bytes.NewReader(pcap(t, packets...)), Decider: decide}
}

// At the recorded pace an event is due when the capture says, and waiting for a
// worker counts from then.
func TestRealPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem memory
		slow := func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			time.Sleep(30 * time.Millisecond)
			return allow(ctx, ev, d)
		}
		cfg := fromPcap(t, slow, flowsEvery(5, 20*time.Millisecond)...)
		cfg.Records, cfg.InFlight, cfg.Speed = &mem, 1, 2 // due every 10 ms, answered every 30 ms
		sum, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range mem.list {
			due, sent := time.Duration(i)*10*time.Millisecond, time.Duration(i)*30*time.Millisecond
			if r.Due != due || r.Sent != sent || r.Latency != 30*time.Millisecond || r.FromDue() != sent-due+30*time.Millisecond {
				t.Errorf("event %d: due %v, sent %v, latency %v, from due %v", r.Event, r.Due, r.Sent, r.Latency, r.FromDue())
			}
		}
		if sum.Events != 5 || sum.Answered != 5 || sum.Allowed != 5 || sum.Rules != 5 || sum.Elapsed != 150*time.Millisecond ||
			sum.Latency.P50 != 30*time.Millisecond || sum.FromDue.Max != 110*time.Millisecond || sum.InFlight[0] != 5 {
			t.Errorf("%+v", sum)
		}
	})
}

// With workers enough, a slow function delays nobody.
func TestOpenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			time.Sleep(time.Second)
			return allow(ctx, ev, d)
		}
		sum, err := Run(t.Context(), fromPcap(t, slow, flowsEvery(5, 10*time.Millisecond)...))
		if err != nil || sum.FromDue.Max != time.Second || sum.Elapsed != 1040*time.Millisecond {
			t.Fatalf("%+v, %v", sum, err)
		}
		if sum.InFlight != [17]int64{1, 1, 1, 1, 1} {
			t.Errorf("others in flight: %v", sum.InFlight)
		}
	})
}

func TestMaxPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mem memory
		slow := func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			time.Sleep(time.Millisecond)
			return allow(ctx, ev, d)
		}
		cfg := fromPcap(t, slow, flowsEvery(100, time.Hour)...)
		cfg.Pace, cfg.Records = PaceMax, &mem
		sum, err := Run(t.Context(), cfg)
		if err != nil || sum.Elapsed != 100*time.Millisecond || sum.FromDue != sum.Latency || len(mem.list) != 100 {
			t.Fatalf("%+v, %v", sum, err)
		}
	})
}

// Which packets ask, in flow mode.
func TestFlowMode(t *testing.T) {
	a, b := frames.Host(1), frames.Host(2)
	a6 := frames.Endpoint{MAC: a.MAC, IP: netip.MustParseAddr("2001:db8::1")}
	ping := frames.Ping(a, b, 1, 1)
	later := bytes.Clone(ping)
	later[14+6], later[14+7] = 0, 1 // the second fragment
	list := []packet{
		{0, syn(1, 1)},               // asks
		{1 * time.Second, syn(1, 1)}, // the same
		{2 * time.Second, frames.TCP(frames.Host(200).At(80), a.At(1), frames.SYN|frames.ACK, nil)}, // the other direction asks
		{3 * time.Second, syn(1, 2)},                              // another port asks
		{4 * time.Second, frames.Tagged(syn(1, 1), 5, 0)},         // another VLAN asks
		{5 * time.Second, frames.ARPRequest(a, b.IP)},             // asks
		{5 * time.Second, frames.ARPReply(b, a)},                  // asks
		{6 * time.Second, frames.NeighborSolicitation(a6, a6.IP)}, // asks
		{7 * time.Second, ping},                                   // asks
		{7 * time.Second, later},                                  // asks: it has no ports
		{7 * time.Second, ping},
		{8 * time.Second, frames.LLDP(a.MAC, 1)}, // asks
		{11 * time.Second, syn(1, 1)},            // at 10 s timeout: seen 10 s ago
		{22 * time.Second, syn(1, 1)},            // 11 s of silence: asks
	}
	cfg := fromPcap(t, allow, list...)
	cfg.FlowTimeout, cfg.Pace = 10*time.Second, PaceMax
	var mem memory
	cfg.Records = &mem
	sum, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, r := range mem.list {
		asked = append(asked, strconv.Itoa(r.Packet))
	}
	if got := strings.Join(asked, " "); got != "1 3 4 5 6 7 8 9 10 12 14" {
		t.Errorf("packets %s asked", got)
	}
	if sum.Packets != int64(len(list)) || sum.NotIP != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestPacketModeWindowAndLimit(t *testing.T) {
	same := make([]packet, 10)
	for i := range same {
		same[i] = packet{time.Duration(i) * time.Second, syn(1, 1)}
	}
	for _, tt := range []struct {
		change func(*Config)
		want   int64
	}{
		{func(c *Config) {}, 10},
		{func(c *Config) { c.From, c.To = 2*time.Second, 5*time.Second }, 3},
		{func(c *Config) { c.From = 8 * time.Second }, 2},
		{func(c *Config) { c.Limit = 4 }, 4},
		{func(c *Config) { c.Mode = ModeFlow }, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := fromPcap(t, allow, same...)
			cfg.Mode = ModePacket
			tt.change(&cfg)
			sum, err := Run(t.Context(), cfg)
			if err != nil || sum.Events != tt.want {
				t.Errorf("%+v: %d events, %v; want %d", cfg, sum.Events, err, tt.want)
			}
		})
	}
}

// A host's packets all come from one switch and one port.
func TestSplit(t *testing.T) {
	var list []packet
	for i := range 2000 {
		list = append(list, packet{time.Duration(i) * 10 * time.Millisecond, syn(uint8(1+i%100), uint16(i))})
	}
	type where struct {
		dpid flow.DPID
		port flow.PortNo
	}
	for _, split := range []string{SplitAddress, SplitTime} {
		var mem memory
		cfg := fromPcap(t, allow, list...)
		cfg.Agents, cfg.Split, cfg.Pace, cfg.Records, cfg.FirstDPID = 4, split, PaceMax, &mem, 0x10
		if _, err := Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		hosts := map[netip.Prefix]map[where]bool{}
		agents := map[int]int{}
		for _, r := range mem.list {
			agents[r.Agent]++
			if hosts[r.Match.IPSrc] == nil {
				hosts[r.Match.IPSrc] = map[where]bool{}
			}
			hosts[r.Match.IPSrc][where{r.DPID, r.Match.InPort}] = true
			if want := int(r.Time.Sub(time.Unix(1e9, 0))/time.Second) % 4; split == SplitTime && r.Agent != want {
				t.Fatalf("packet of %v from agent %d, want %d", r.Time, r.Agent, want)
			}
			if r.DPID != 0x10+flow.DPID(r.Agent) || r.Match.InPort != 1 {
				t.Fatalf("%+v", r)
			}
		}
		if len(agents) != 4 {
			t.Errorf("%s: agents %v", split, agents)
		}
		for h, w := range hosts {
			if split == SplitAddress && len(w) != 1 {
				t.Errorf("host %v is in %d places", h, len(w))
			}
		}
	}
}

// A full handshake is three events for each packet, in order; combined is one. In two, HELLO alone is one of its own.
func TestHandshakes(t *testing.T) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		synctest.Test(t, func(t *testing.T) {
			var seen []string
			ids := map[string]bool{}
			decide := func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
				time.Sleep(time.Millisecond)
				name := ev.Type.String()
				if ev.Type == flow.EventHandshake {
					h, err := ofp.ParseHeader(ev.Handshake)
					if err != nil || h.Version != v {
						t.Errorf("%+v, %v", h, err)
					}
					name = h.Type.String()
				}
				seen = append(seen, name)
				if ids[ev.ID] || ev.XID == 0 || ev.Switch.Protocol != v {
					t.Errorf("%+v", ev)
				}
				ids[ev.ID] = true
				return allow(ctx, ev, d)
			}
			for mode, want := range map[string][]string{
				HandshakeCombined: {flow.EventPacketIn.String()},
				HandshakeTwo:      {ofp.TypeHello.String(), flow.EventPacketIn.String()},
				HandshakeFull:     {ofp.TypeHello.String(), ofp.TypeFeaturesReply.String(), flow.EventPacketIn.String()},
			} {
				seen = nil
				var mem memory
				cfg := fromPcap(t, decide, flowsEvery(2, time.Second)...)
				cfg.Handshake, cfg.Records, cfg.Protocol = mode, &mem, v
				if _, err := Run(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				if got, want := strings.Join(seen, " "), strings.Join(append(want, want...), " "); got != want {
					t.Errorf("%s: %s", mode, got)
				}
				steps := time.Duration(len(want)) * time.Millisecond
				if r := mem.list[1]; r.Latency != steps || r.Handshake != steps-time.Millisecond || r.Verdict != flow.Allow {
					t.Errorf("%s: %+v", mode, r)
				}
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	for want, d := range map[string]flow.Decision{
		"allow": {HasPacketOut: true, PacketOut: []flow.Action{flow.OutputTo(1)}},
		"deny":  {},
		"none":  {},
	} {
		decide := func(_ context.Context, _ *flow.Event, got *flow.Decision) error {
			if want == "none" {
				return flow.Errorf(flow.Refused, "403")
			}
			*got = d
			return nil
		}
		var mem memory
		cfg := fromPcap(t, decide, packet{0, syn(1, 1)})
		cfg.Records = &mem
		Run(t.Context(), cfg)
		if got := mem.list[0].Verdict.String(); got != want {
			t.Errorf("%+v is %s, want %s", d, got, want)
		}
	}
}

func TestFunctionFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		decide := func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			switch n++; n {
			case 1:
				return flow.Errorf(flow.Refused, "status 404")
			case 2:
				return flow.Errorf(flow.Invalid, "not OpenFlow")
			case 3:
				return errors.New("no connection")
			case 4:
				<-ctx.Done()
				return ctx.Err()
			}
			return allow(ctx, ev, d)
		}
		var mem memory
		cfg := fromPcap(t, decide, flowsEvery(6, 10*time.Second)...)
		cfg.Records = &mem
		sum, err := Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int64{"refused": 1, "invalid": 1, "unavailable": 1, "timeout": 1}
		for kind, n := range want {
			if sum.Errors[kind] != n {
				t.Errorf("errors %v, want %v", sum.Errors, want)
				break
			}
		}
		if sum.Answered != 2 || sum.Latency.Count != 2 || mem.list[0].Error != "refused: status 404" || mem.list[3].Latency != 5*time.Second {
			t.Errorf("%+v", sum)
		}

		_, err = Run(t.Context(), fromPcap(t, func(context.Context, *flow.Event, *flow.Decision) error { return errors.New("dial refused") }, flowsEvery(3, time.Second)...))
		if err == nil || !strings.Contains(err.Error(), "none of 3 events was answered") || !strings.Contains(err.Error(), "dial refused") {
			t.Error(err)
		}
	})
}

// A bad file ends the replay; what it gave before counts.
func TestCaptureFaults(t *testing.T) {
	good := pcap(t, flowsEvery(5, 0)...)
	for _, tt := range []struct {
		name   string
		file   []byte
		want   string
		events int64
	}{
		{"not a capture", []byte("GIF89a"), "neither a pcap nor a pcapng file", 0},
		{"cut", good[:len(good)-1], "packet 5: the file ends in the middle of it", 4},
		{"no packets", pcap(t), "no packet", 0},
	} {
		path := filepath.Join(t.TempDir(), "file.pcap")
		if err := os.WriteFile(path, tt.file, 0o600); err != nil {
			t.Fatal(err)
		}
		var mem memory
		sum, err := Run(t.Context(), Config{Files: []string{path}, Decider: flow.DeciderFunc(allow), Records: &mem})
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.events > 0 && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if sum.Answered != tt.events || int64(len(mem.list)) != tt.events {
			t.Errorf("%s: %d answered, %d recorded, want %d", tt.name, sum.Answered, len(mem.list), tt.events)
		}
	}
}

// A capture without a single IP packet asks all the same, and is named for what it is.
func TestNoIP(t *testing.T) {
	lldp := frames.LLDP(frames.Host(1).MAC, 1)
	cfg := fromPcap(t, allow, packet{0, lldp}, packet{time.Second, lldp}, packet{2 * time.Second, frames.LLDP(frames.Host(2).MAC, 2)})
	cfg.Pace = PaceMax
	sum, err := Run(t.Context(), cfg)
	if err != nil || sum.Packets != 3 || sum.NotIP != 3 || sum.Events != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
	var text bytes.Buffer
	if err := sum.WriteText(&text); err != nil || !strings.Contains(text.String(), "3 packets (3 neither IP nor ARP") {
		t.Errorf("%v: %s", err, &text)
	}
}

// Records that can't be written stop the replay with a clear error.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("no device that is always full: %v", err)
	}
	defer full.Close()
	for _, format := range []string{"json", "csv"} {
		rec, err := ParseRecorder(format, full)
		if err != nil {
			t.Fatal(err)
		}
		cfg := fromPcap(t, allow, flowsEvery(20_000, 0)...)
		cfg.Records, cfg.Pace = rec, PaceMax
		sum, err := Run(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), "writing the records") || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: %v", format, err)
		}
		if sum.Answered == 0 || sum.Answered == 20_000 {
			t.Errorf("%s: %d answered before it stopped", format, sum.Answered)
		}
	}
}

// Stopping waits for what was sent, and gives what there is.
func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		slow := func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
			time.Sleep(time.Second)
			return allow(ctx, ev, d)
		}
		time.AfterFunc(2500*time.Millisecond, cancel)
		var mem memory
		cfg := fromPcap(t, slow, flowsEvery(100, time.Second)...)
		cfg.Records = &mem
		sum, err := Run(ctx, cfg)
		if err != nil || !sum.Interrupted || sum.Events != 3 || sum.Answered != 3 || len(mem.list) != 3 || sum.Elapsed != 3*time.Second {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []Progress
		cfg := fromPcap(t, allow, flowsEvery(10, time.Second)...)
		cfg.OnProgress = func(p Progress) { seen = append(seen, p) }
		if _, err := Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		last := seen[len(seen)-1]
		if len(seen) < 15 || last.Events != 10 || last.Answered != 10 || last.Size != -1 || last.Read == 0 || last.Elapsed != 9*time.Second {
			t.Errorf("%d times, last %+v", len(seen), last)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	d := flow.DeciderFunc(allow)
	for want, cfg := range map[string]Config{
		"want a function or a gateway":  {},
		"and not both":                  {Decider: d, Gateways: []string{"x:1"}},
		`mode "all"`:                    {Decider: d, Mode: "all"},
		`pace "slow"`:                   {Decider: d, Pace: "slow"},
		`split "port"`:                  {Decider: d, Split: "port"},
		`handshake "half"`:              {Decider: d, Handshake: "half"},
		"a gateway's switches do their": {Gateways: []string{"x:1"}, Handshake: HandshakeFull},
		"P4Runtime: want OpenFlow":      {Decider: d, Protocol: flow.P4Runtime},
		"-1 agents":                     {Decider: d, Agents: -1},
		"2 gateways for 1 agents":       {Gateways: []string{"x:1", "y:1"}},
		"speed -1":                      {Decider: d, Speed: -1},
		"from 2s to 1s":                 {Decider: d, From: 2 * time.Second, To: time.Second},
		"no capture file":               {Decider: d},
		"no such file":                  {Decider: d, Files: []string{"does-not-exist"}},
		"agent 0 (0000000000000001)":    {Gateways: []string{"127.0.0.1:1"}, Files: []string{"-"}},
	} {
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := ParseRecorder("xml", nil); err == nil {
		t.Error("records as xml")
	}
}

func TestRecorders(t *testing.T) {
	r := Record{
		Event: 7, Agent: 1, DPID: 0xab, File: "a.pcap", Packet: 9, Time: time.Unix(1, 5).UTC(), Match: flow.ParseFrame(syn(1, 2), 3),
		Due: time.Millisecond, Sent: 2 * time.Millisecond, Latency: 1500 * time.Nanosecond, Verdict: flow.Deny, Rules: 1, Reason: `blocklist: "x"`,
	}
	var js, table bytes.Buffer
	for format, w := range map[string]io.Writer{"json": &js, "csv": &table} {
		rec, err := ParseRecorder(format, w)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := rec.Record(&r); err != nil {
				t.Fatal(err)
			}
		}
		if err := rec.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSpace(js.String()), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil || len(lines) != 2 {
		t.Fatal(err, len(lines))
	}
	if got["latency_us"] != 1.5 || got["latency_from_due_us"] != 1001.5 || got["verdict"] != "deny" || got["dpid"] != "00000000000000ab" {
		t.Errorf("%s", lines[1])
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatal(err, rows)
	}
	for i, column := range rows[0] { // the same members with the same values
		want, ok := got[column]
		if column == "error" {
			ok, want = true, ""
		}
		if s, isText := want.(string); isText && s != rows[1][i] || !ok {
			t.Errorf("column %s: %q, in JSON %v", column, rows[1][i], want)
		}
		if f, isNumber := want.(float64); isNumber && strconv.FormatFloat(f, 'f', -1, 64) != rows[1][i] {
			t.Errorf("column %s: %q, in JSON %v", column, rows[1][i], want)
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestGateway(t *testing.T) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		t.Run(v.String(), func(t *testing.T) {
			ln := listen(t)
			ctx, stop := context.WithCancel(t.Context())
			var served sync.WaitGroup
			served.Go(func() { bench.Responder{}.Serve(ctx, ln) })
			defer served.Wait()
			defer stop()
			list := flowsEvery(500, 0)
			cfg := Config{
				Files: []string{"-"}, Stdin: bytes.NewReader(pcap(t, list...)), Gateways: []string{ln.Addr().String()}, Protocol: v,
				Agents: 3, Pace: PaceMax, InFlight: 16,
			}
			sum, err := Run(t.Context(), cfg)
			if err != nil || sum.Answered != 500 || sum.Allowed != 500 || sum.Rules != 500 {
				t.Errorf("%+v, %v", sum, err)
			}
		})
	}
}

// The agents are switches of the gateways in turn.
func TestSeveralGateways(t *testing.T) {
	var asked [2]atomic.Int64
	var addrs []string
	for i := range asked {
		addrs = append(addrs, controller(t, func(_ int, p *flow.PacketIn) ([]byte, bool) {
			asked[i].Add(1)
			return packetOut(t, p.BufferID, flow.OutputTo(2)), true
		}))
	}
	var mem memory
	sum, err := Run(t.Context(), Config{Files: []string{"-"}, Stdin: bytes.NewReader(pcap(t, flowsEvery(100, 0)...)), Gateways: addrs, Agents: 2, Protocol: flow.OpenFlow10,
		Pace: PaceMax, Records: &mem})
	var want [2]int64
	for _, r := range mem.list {
		want[r.Agent]++
	}
	got := [2]int64{asked[0].Load(), asked[1].Load()}
	if err != nil || sum.Answered != 100 || got != want || want[0] == 0 || want[1] == 0 {
		t.Errorf("%v asked, want %v; %+v, %v", got, want, sum, err)
	}
}

// controller is a hand-made one, of OpenFlow 1.0.
func controller(t *testing.T, answer func(n int, p *flow.PacketIn) (out []byte, more bool)) string {
	ln := listen(t)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		v := flow.OpenFlow10
		conn.Write(ofp.AppendFeaturesRequest(ofp.AppendHello(nil, 1, v), v, 2))
		head := make([]byte, ofp.HeaderLen)
		for n := 0; ; {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			h, err := ofp.ParseHeader(head)
			if err != nil {
				return
			}
			msg := append(bytes.Clone(head), make([]byte, h.Length-ofp.HeaderLen)...)
			if _, err := io.ReadFull(conn, msg[ofp.HeaderLen:]); err != nil {
				return
			}
			var p flow.PacketIn
			if h.Type != ofp.TypePacketIn || ofp.ParsePacketIn(msg, &p) != nil {
				continue
			}
			out, more := answer(n, &p)
			conn.Write(out)
			if n++; !more {
				return
			}
		}
	}()
	return ln.Addr().String()
}

func packetOut(t *testing.T, buffer uint32, actions ...flow.Action) []byte {
	b, err := ofp.AppendPacketOut(nil, flow.OpenFlow10, 1, &ofp.PacketOut{BufferID: buffer, InPort: 1, Actions: actions})
	if err != nil {
		t.Error(err)
	}
	return b
}

// The verdict is what the packet's buffer was used for; a controller that says
// nothing is a timeout.
func TestGatewayVerdicts(t *testing.T) {
	addr := controller(t, func(n int, p *flow.PacketIn) ([]byte, bool) {
		switch n {
		case 0:
			return packetOut(t, p.BufferID), true
		case 1:
			return packetOut(t, p.BufferID, flow.OutputTo(2)), true
		case 2:
			b, err := ofp.AppendFlowMod(nil, flow.OpenFlow10, 1, &flow.Rule{}, p.BufferID)
			if err != nil {
				t.Error(err)
			}
			return b, true
		}
		return nil, true
	})
	var mem memory
	cfg := Config{
		Files: []string{"-"}, Stdin: bytes.NewReader(pcap(t, flowsEvery(4, 0)...)), Gateways: []string{addr}, Protocol: flow.OpenFlow10,
		Pace: PaceMax, Timeout: 200 * time.Millisecond, Records: &mem,
	}
	sum, err := Run(t.Context(), cfg)
	if err != nil || sum.Denied != 2 || sum.Allowed != 1 || sum.Errors["timeout"] != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// A gateway that closes the connection ends the replay; results so far are kept.
func TestGatewayLeaves(t *testing.T) {
	for name, row := range map[string]struct {
		gap  time.Duration // between packets
		pace string
	}{
		"while events come":   {0, PaceMax},
		"while none is there": {60 * time.Millisecond, PaceReal},
	} {
		t.Run(name, func(t *testing.T) {
			addr := controller(t, func(n int, p *flow.PacketIn) ([]byte, bool) {
				return packetOut(t, p.BufferID, flow.OutputTo(2)), n < 3
			})
			var mem memory
			cfg := Config{
				Files: []string{"-"}, Stdin: bytes.NewReader(pcap(t, flowsEvery(20, row.gap)...)), Gateways: []string{addr}, Protocol: flow.OpenFlow10,
				Pace: row.pace, Records: &mem,
			}
			sum, err := Run(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "agent 0 (0000000000000001), event ") || !strings.Contains(err.Error(), "connection ended") {
				t.Error(err)
			}
			if sum.Answered < 3 || sum.Answered > 4 || sum.Errors["connection lost"] == 0 || len(mem.list) != int(sum.Events) {
				t.Errorf("%+v", sum)
			}
		})
	}
}

// dataFile finds a capture of the shared set, or skips.
func dataFile(t testing.TB, name string) string {
	t.Helper()
	dirs := []string{os.Getenv("SWITCHBRIDGE_DATA"), "../../shared/data"}
	for _, d := range dirs {
		if path := filepath.Join(d, name); d != "" {
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	t.Skipf("%s is in none of %q (set SWITCHBRIDGE_DATA)", name, dirs)
	return ""
}

// Real captures give as many events as they have flows, counted by gopacket.
func TestRealCaptures(t *testing.T) {
	for _, name := range []string{"home-web.pcapng", "home-mail.pcapng", "synscan.pcapng", "iot-hue-switch.pcap", "iot-schlage-lock.pcap"} {
		t.Run(name, func(t *testing.T) {
			path := dataFile(t, name)
			var mem memory
			sum, err := Run(t.Context(), Config{
				Files: []string{path}, Decider: flow.DeciderFunc(allow), Pace: PaceMax, FlowTimeout: 1000 * time.Hour, Agents: 4, Records: &mem,
			})
			if err != nil {
				t.Fatal(err)
			}
			packets, tcp := countFlows(t, path)
			gotTCP := map[flowKey]bool{}
			n := 0
			for _, r := range mem.list {
				if r.Match.IPProto == flow.ProtoTCP && r.Match.Has(flow.FieldL4Src) {
					n++
					gotTCP[keyOf(&r.Match)] = true
				}
			}
			if sum.Packets != int64(packets) || n != len(gotTCP) || n != tcp {
				t.Errorf("%d packets and %d TCP flows (%d different), gopacket counts %d and %d", sum.Packets, n, len(gotTCP), packets, tcp)
			}
		})
	}
}

// countFlows counts packets and the directions of TCP conversations.
func countFlows(t *testing.T, path string) (packets, tcp int) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var src gopacket.PacketDataSource
	if strings.HasSuffix(path, "ng") {
		src, err = pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	} else {
		src, err = pcapgo.NewReader(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[2]gopacket.Flow]bool{}
	for p := range gopacket.NewPacketSource(src, layers.LinkTypeEthernet).Packets() {
		packets++
		if l, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok {
			seen[[2]gopacket.Flow{p.NetworkLayer().NetworkFlow(), l.TransportFlow()}] = true
		}
	}
	return packets, len(seen)
}

// The bound on remembered flows holds, whatever the capture.
func TestFlowTableIsBounded(t *testing.T) {
	f := newFlows(time.Hour)
	k := flowKey{proto: flow.ProtoTCP}
	for i := range 5 * maxFlows {
		k.src[0], k.src[1], k.src[2] = byte(i), byte(i>>8), byte(i>>16)
		if !f.isNew(k, time.Duration(i)) {
			t.Fatalf("flow %d is known", i)
		}
		if f.isNew(k, time.Duration(i)) {
			t.Fatalf("flow %d is not known", i)
		}
		if len(f.now)+len(f.past) > 2*maxFlows {
			t.Fatalf("%d flows remembered", len(f.now)+len(f.past))
		}
	}
}
