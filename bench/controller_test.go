package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
	"switchbridge/ofproxy/oftest"
)

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// serve runs a Responder and returns its address.
func serve(t testing.TB) string {
	t.Helper()
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Responder{}.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// fakeController is a hand-made controller: after the handshake, each PACKET_IN is
// given to answer with its number (from 0), and what it returns is sent; nil
// sends nothing, and an error ends the connection.
func fakeController(t testing.TB, answer func(n int, xid, buffer uint32) ([]byte, error)) string {
	t.Helper()
	ln := listen(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				conn.Write(ofp.AppendHello(nil, 1, flow.OpenFlow10))
				conn.Write(ofp.AppendFeaturesRequest(nil, flow.OpenFlow10, 2))
				in := newStream(conn, 4<<10)
				for n := 0; ; {
					if in.fill() != nil {
						return
					}
					for msg, _ := in.buffered(); msg != nil; msg, _ = in.buffered() {
						var p flow.PacketIn
						if msg[1] != wirePacketIn || ofp.ParsePacketIn(msg, &p) != nil || p.BufferID == flow.NoBuffer {
							continue
						}
						h, _ := ofp.ParseHeader(msg)
						out, err := answer(n, h.XID, p.BufferID)
						if n++; err != nil {
							return
						}
						if _, err := conn.Write(out); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func flowMod(t testing.TB, command flow.Command, xid, buffer uint32) []byte {
	b, err := ofp.AppendFlowMod(nil, flow.OpenFlow10, xid, &flow.Rule{Command: command, Actions: []flow.Action{flow.OutputTo(2)}}, buffer)
	if err != nil {
		t.Error(err)
	}
	return b
}

func packetOut(t testing.TB, v flow.Protocol, buffer uint32, data []byte) []byte {
	b, err := ofp.AppendPacketOut(nil, v, 0, &ofp.PacketOut{BufferID: buffer, InPort: 1, Data: data, Actions: []flow.Action{flow.OutputTo(2)}})
	if err != nil {
		t.Error(err)
	}
	return b
}

// quick is a measurement of about 100 ms.
func quick(target, mode string) ControllerConfig {
	return ControllerConfig{Target: target, Mode: mode, Runs: 3, Duration: 25 * time.Millisecond, WarmUp: 10 * time.Millisecond}
}

func TestControllerAgainstResponder(t *testing.T) {
	for _, mode := range []string{Latency, Flood} {
		for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
			t.Run(mode+" "+v.String(), func(t *testing.T) {
				cfg := quick(serve(t), mode)
				cfg.Protocol, cfg.Switches = v, 3
				runs := 0
				cfg.OnRun = func(n int, r Run) { runs++ }
				res, err := Controller(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if runs != 3 || len(res.Runs) != 3 {
					t.Fatalf("%d runs, %d told", len(res.Runs), runs)
				}
				var sent, answers uint64
				for _, r := range res.Runs {
					if r.PacketOuts != 0 || r.Lost != 0 || r.Seconds < 0.025 {
						t.Errorf("%+v", r)
					}
					sent, answers = sent+r.Sent, answers+r.FlowMods
				}
				if sent == 0 || answers == 0 || res.PerSecond.Max <= 0 {
					t.Errorf("%d answers to %d", answers, sent)
				}
				if mode == Flood {
					if res.Latency != nil {
						t.Error("a flood has no latency")
					}
				} else if l := res.Latency; l.Count == 0 || l.Count > answers+uint64(cfg.Switches) || l.Min <= 0 || l.P10 > l.P50 || l.P50 > l.P99 || l.P99 > l.Max ||
					answers > sent+uint64(cfg.Switches) {
					t.Errorf("%d answers to %d, %+v", answers, sent, l)
				}

				var text, js bytes.Buffer
				if err := errors.Join(res.WriteText(&text), res.WriteJSON(&js)); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(text.String(), "3 switches, "+v.String()+", 3 runs") || !strings.Contains(text.String(), "median") {
					t.Errorf("%s", &text)
				}
				var back ControllerResult
				if err := json.Unmarshal(js.Bytes(), &back); err != nil || back.PerSecond != res.PerSecond || len(back.Runs) != 3 {
					t.Errorf("%v: %s", err, &js)
				}
			})
		}
	}
}

// A FLOW_MOD and a PACKET_OUT count each; a DELETE and LLDP don't; the late half
// of an answer does not pass for the next packet's.
func TestWhatCounts(t *testing.T) {
	lldp := frames.LLDP(flow.MAC{2}, 1)
	addr := fakeController(t, func(n int, xid, buffer uint32) ([]byte, error) {
		out := flowMod(t, flow.Delete, xid, flow.NoBuffer)
		out = append(out, packetOut(t, flow.OpenFlow10, flow.NoBuffer, lldp)...)
		out = append(out, flowMod(t, flow.Add, xid, flow.NoBuffer)...)
		return append(out, packetOut(t, flow.OpenFlow10, buffer, nil)...), nil
	})
	res, err := Controller(t.Context(), quick(addr, Latency))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Runs {
		if r.Sent == 0 || diff(r.FlowMods, r.Sent) > 2 || diff(r.PacketOuts, r.Sent) > 2 {
			t.Errorf("%+v: want one FLOW_MOD and one PACKET_OUT a packet", r)
		}
	}
}

// However many messages answer a PACKET_IN, and whatever buffer they name, it is
// answered once.
func TestAnsweredCountsPacketInsOnce(t *testing.T) {
	for name, test := range map[string]struct {
		messages float64 // for each PACKET_IN
		answer   func(xid, buffer uint32) []byte
	}{
		"one": {1, func(xid, buffer uint32) []byte { return flowMod(t, flow.Add, xid, buffer) }},
		"two rules and the packet": {3, func(xid, buffer uint32) []byte {
			out := flowMod(t, flow.Add, xid, flow.NoBuffer)
			out = append(out, flowMod(t, flow.Add, xid, flow.NoBuffer)...)
			return append(out, packetOut(t, flow.OpenFlow10, buffer, nil)...)
		}},
		"the buffer twice": {2, func(xid, buffer uint32) []byte {
			return append(flowMod(t, flow.Add, xid, buffer), packetOut(t, flow.OpenFlow10, buffer, nil)...)
		}},
		"no buffer at all": {2, func(xid, _ uint32) []byte {
			return append(flowMod(t, flow.Add, xid, flow.NoBuffer), packetOut(t, flow.OpenFlow10, flow.NoBuffer, []byte("frame"))...)
		}},
	} {
		for _, mode := range []string{Latency, Flood} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				addr := fakeController(t, func(_ int, xid, buffer uint32) ([]byte, error) { return test.answer(xid, buffer), nil })
				res, err := Controller(t.Context(), quick(addr, mode))
				if err != nil {
					t.Fatal(err)
				}
				// A run may end between two messages of one answer.
				if res.Answered.Max <= 0 || res.PerPacketIn < test.messages-0.3 || res.PerPacketIn > test.messages+0.3 {
					t.Errorf("%.0f answered/s with %.2f messages each, want %v", res.Answered.Max, res.PerPacketIn, test.messages)
				}
			})
		}
	}
}

func diff(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// An earlier packet's answer counts and completes nothing.
func TestStaleAnswer(t *testing.T) {
	addr := fakeController(t, func(n int, xid, buffer uint32) ([]byte, error) {
		if n%2 == 1 {
			return flowMod(t, flow.Add, xid, buffer-1), nil // the same buffer again
		}
		return flowMod(t, flow.Add, xid, buffer), nil
	})
	cfg := quick(addr, Latency)
	cfg.Runs = 10
	res, err := Controller(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var lost, sent uint64
	for _, r := range res.Runs {
		lost, sent = lost+r.Lost, sent+r.Sent
	}
	if sent > 11 || lost == 0 { // about one a run; a release would make it thousands
		t.Errorf("%d sent and %d lost: a stale answer released the next packet", sent, lost)
	}
}

// A packet that is never answered costs a run, not the measurement.
func TestLostPackets(t *testing.T) {
	addr := fakeController(t, func(n int, xid, buffer uint32) ([]byte, error) {
		if n == 10 {
			return nil, nil
		}
		return flowMod(t, flow.Add, xid, buffer), nil
	})
	cfg := quick(addr, Latency)
	cfg.Runs = 6
	res, err := Controller(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var lost uint64
	for _, r := range res.Runs {
		lost += r.Lost
	}
	if last := res.Runs[5]; lost != 1 || last.FlowMods == 0 {
		t.Errorf("%d lost, last run %+v", lost, last)
	}
}

func TestControllerFaults(t *testing.T) {
	closed := listen(t)
	closed.Close()
	silent := listen(t) // accepts, says nothing
	garbage := listen(t)
	go func() {
		for {
			conn, err := garbage.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n"))
		}
	}()
	zero := fakeController(t, func(int, uint32, uint32) ([]byte, error) { return []byte{1, 14, 0, 0, 0, 0, 0, 0}, nil })
	refuses := fakeController(t, func(_ int, xid, _ uint32) ([]byte, error) {
		return ofp.AppendError(nil, flow.OpenFlow10, xid, 1, 6, nil), nil
	})
	leaves := fakeController(t, func(n int, xid, buffer uint32) ([]byte, error) {
		if n == 50 {
			return nil, errors.New("leave")
		}
		return flowMod(t, flow.Add, xid, buffer), nil
	})
	mute := fakeController(t, func(int, uint32, uint32) ([]byte, error) { return nil, nil })

	for _, mode := range []string{Latency, Flood} {
		for _, tt := range []struct{ name, addr, want string }{
			{"nobody listens", closed.Addr().String(), "connection refused"},
			{"no handshake", silent.Addr().String(), "the handshake is not over"},
			{"not OpenFlow", garbage.Addr().String(), `does not speak OpenFlow: it begins with "HTTP/1.1 400`},
			{"a length of 0", zero, "a message of length 0"},
			{"an error", refuses, "reported an error: "},
			{"leaves", leaves, "closed the connection"},
			{"never answers", mute, ErrNoAnswer.Error()},
		} {
			t.Run(mode+" "+tt.name, func(t *testing.T) {
				cfg := quick(tt.addr, mode)
				if tt.name == "no handshake" {
					cfg.Connect = 300 * time.Millisecond
				}
				cfg.Runs = 4
				_, err := Controller(t.Context(), cfg)
				if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.addr) {
					t.Errorf("%v\nwant it to name %s and say %q", err, tt.addr, tt.want)
				}
			})
		}
	}
}

// A measurement that is cut short keeps what it has.
func TestControllerCancelled(t *testing.T) {
	cfg := quick(serve(t), Flood)
	cfg.Runs = 1000
	ctx, cancel := context.WithCancel(t.Context())
	cfg.OnRun = func(n int, _ Run) {
		if n == 1 {
			cancel()
		}
	}
	res, err := Controller(ctx, cfg)
	if !errors.Is(err, context.Canceled) || len(res.Runs) != 2 || res.PerSecond.Runs != 2 {
		t.Errorf("%v, %d runs, %+v", err, len(res.Runs), res.PerSecond)
	}
}

func TestControllerConfigErrors(t *testing.T) {
	for want, cfg := range map[string]ControllerConfig{
		"no target":                      {},
		`mode "fast"`:                    {Target: "x", Mode: "fast"},
		"P4Runtime: want OpenFlow":       {Target: "x", Protocol: flow.P4Runtime},
		"70000 switches":                 {Target: "x", Switches: 70000},
		"-1 runs":                        {Target: "x", Runs: -1},
		"duration 1µs":                   {Target: "x", Duration: time.Microsecond},
		`controller "x": want host:port`: {Target: "x"},
	} {
		if _, err := Controller(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

func TestBatch(t *testing.T) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		b, err := newBatch(v, 300, 5)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[flow.MAC]int{}
		var number uint32
		for range 2 {
			for m := b.stamp(b.size()); len(m) > 0; m = m[b.stride:] {
				var p flow.PacketIn
				if err := ofp.ParsePacketIn(m[:b.stride], &p); err != nil {
					t.Fatal(err)
				}
				h, err := ofp.ParseHeader(m)
				if err != nil || h.XID != number+1 || p.BufferID != number || len(p.Data) != 60 || p.TotalLen != 60 {
					t.Fatalf("packet %d: %+v %+v", number, h, p)
				}
				if p.Match.L4Dst != 80 || p.Match.EthDst != target(300).MAC || p.Match.EthSrc.Multicast() || p.Match.InPort != 1 {
					t.Fatalf("packet %d: %v", number, p.Match)
				}
				seen[p.Match.EthSrc]++
				number++
			}
		}
		if len(seen) != 5 {
			t.Errorf("%d source addresses, want 5", len(seen))
		}
		b.next = bufferIDs + 3
		var p flow.PacketIn
		if err := ofp.ParsePacketIn(b.stamp(1), &p); err != nil || p.BufferID != 3 {
			t.Errorf("buffer %d after %d others, %v", p.BufferID, bufferIDs, err)
		}
	}
}

// Counting answers allocates nothing, whatever their number.
func TestCountingIsFree(t *testing.T) {
	one := flowMod(t, flow.Add, 1, 2)
	s := &loadSwitch{dp: oftest.NewDatapath(oftest.Config{}), in: &stream{buf: bytes.Repeat(one, 1000)}}
	var n int
	count := func(answer) { n++ }
	if allocs := testing.AllocsPerRun(10, func() {
		s.in.start, s.in.end = 0, len(s.in.buf)
		if err := s.drain(count, nil); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 || n != 11_000 {
		t.Errorf("%v allocations, %d counted", allocs, n)
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(flowMod(f, flow.Add, 1, 2))
	f.Add(packetOut(f, flow.OpenFlow10, 2, nil))
	f.Add(packetOut(f, flow.OpenFlow13, flow.NoBuffer, frames.LLDP(flow.MAC{2}, 1)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if _, err := ofp.ParseHeader(msg); err != nil {
			return
		}
		a, ok := parseAnswer(msg)
		// The codec, which reads all of a message, agrees on what both understand.
		var r flow.Rule
		if a.kind == ofp.TypeFlowMod && ofp.ParseFlowMod(msg, &r) == nil && (a.buffer != r.BufferID || ok != (r.Command <= flow.ModifyStrict)) {
			t.Errorf("%+v, %v of %+v", a, ok, r)
		}
		var p ofp.PacketOut
		if a.kind == ofp.TypePacketOut && ofp.ParsePacketOut(msg, &p) == nil && a.buffer != p.BufferID {
			t.Errorf("%+v of %+v", a, p)
		}
	})
}

// The load generator against the controller that does nothing, in this process.
func BenchmarkFlood(b *testing.B) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		b.Run(v.String(), func(b *testing.B) {
			cfg := ControllerConfig{Target: serve(b), Mode: Flood, Protocol: v, Switches: 4, Runs: 5, Duration: 200 * time.Millisecond, WarmUp: 100 * time.Millisecond}
			for b.Loop() {
				res, err := Controller(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(res.PerSecond.Median, "responses/s")
			}
		})
	}
}

func BenchmarkLatency(b *testing.B) {
	cfg := ControllerConfig{Target: serve(b), Runs: 5, Duration: 200 * time.Millisecond, WarmUp: 100 * time.Millisecond}
	for b.Loop() {
		res, err := Controller(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(res.Latency.P50)/1e3, "p50-µs")
		b.ReportMetric(res.PerSecond.Median, "responses/s")
	}
}

// An OpenFlow 1.3 controller that closes a switch which asks before it has a
// table-miss entry, and takes long to add it, is measured all the same; one that adds none is asked after a while.
func TestSwitchWaitsForTableMiss(t *testing.T) {
	announce := func(s *loadSwitch) error { return s.announce(1, flow.OpenFlow13) }
	decide := func(s *loadSwitch) error {
		_, _, err := s.firstDecision(8 * time.Second)
		return err
	}
	for name, row := range map[string]struct {
		ask         func(*loadSwitch) error
		after, want time.Duration
	}{
		"announce, at once":       {announce, 0, 0}, // with the first request
		"announce, late":          {announce, 3 * time.Second, 3 * time.Second},
		"announce, never":         {announce, time.Hour, missLimit},
		"first decision, at once": {decide, 0, 0},
		"first decision, late":    {decide, 3 * time.Second, 3 * time.Second},
		"first decision, never":   {decide, time.Hour, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				miss, err := ofp.AppendFlowMod(nil, flow.OpenFlow13, 3, &flow.Rule{Command: flow.Add, Actions: []flow.Action{flow.OutputTo(flow.PortController)}}, flow.NoBuffer)
				if err != nil {
					t.Fatal(err)
				}
				near, far := net.Pipe()
				asked := make(chan time.Duration, 1)
				go func() {
					defer far.Close()
					begin := time.Now()
					var add *time.Timer
					for s := newStream(far, 4<<10); ; {
						msg, err := s.buffered()
						if err != nil {
							return
						}
						if msg == nil {
							if s.fill() != nil {
								return
							}
							continue
						}
						switch msg[1] {
						case 0: // HELLO
							out := ofp.AppendFeaturesRequest(ofp.AppendHello(nil, 1, flow.OpenFlow13), flow.OpenFlow13, 2)
							if row.after == 0 {
								out = append(out, miss...)
							}
							go far.Write(out)
						case 6: // FEATURES_REPLY
							begin = time.Now()
							if row.after > 0 {
								add = time.AfterFunc(row.after, func() { far.Write(miss) })
							}
						case wirePacketIn:
							if add != nil {
								add.Stop()
							}
							asked <- time.Since(begin)
							io.Copy(io.Discard, far)
							return
						}
					}
				}()
				s, err := newSwitch(t.Context(), near, flow.OpenFlow13, 1, 1, 4<<10)
				if err == nil {
					err = row.ask(s)
				}
				near.Close()
				if err != nil {
					t.Fatal(err)
				}
				if took := <-asked; took < row.want || took > row.want+time.Second {
					t.Errorf("it asked after %v, want %v and what it waits for silence", took, row.want)
				}
			})
		})
	}
}
