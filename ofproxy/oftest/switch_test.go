package oftest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchbridge/flow"
	"switchbridge/internal/frames"
	"switchbridge/ofproxy/ofp"
)

// peer is the controller's end of a pipe, spoken by hand.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *reader
}

// connect starts a switch at the other end of a pipe and exchanges HELLOs.
func connect(t *testing.T, v flow.Protocol, cfg Config) (*Switch, *peer) {
	t.Helper()
	a, b := net.Pipe()
	sw := Serve(a, cfg)
	p := &peer{t: t, conn: b, r: newReader(b)}
	t.Cleanup(func() { sw.Close(); b.Close() })
	p.want(ofp.TypeHello)
	p.send(ofp.AppendHello(nil, 7, v))
	return sw, p
}

// ready does the rest of a handshake.
func ready(t *testing.T, v flow.Protocol, cfg Config) (*Switch, *peer) {
	t.Helper()
	sw, p := connect(t, v, cfg)
	p.send(ofp.AppendFeaturesRequest(nil, v, 8))
	var got flow.Switch
	if err := ofp.ParseFeaturesReply(p.want(ofp.TypeFeaturesReply), &got); err != nil {
		t.Fatal(err)
	}
	if got.DPID != cfg.DPID || got.NBuffers != cfg.NBuffers || got.Protocol != v {
		t.Fatalf("features %+v of %+v", got, cfg)
	}
	return sw, p
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) flowMod(v flow.Protocol, xid uint32, buffer uint32, r flow.Rule) {
	p.t.Helper()
	b, err := ofp.AppendFlowMod(nil, v, xid, &r, buffer)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(b)
}

func (p *peer) want(typ ofp.Type) []byte {
	p.t.Helper()
	msg, err := p.r.next()
	if err != nil {
		p.t.Fatalf("waiting for %v: %v", typ, err)
	}
	if h, err := ofp.ParseHeader(msg); err != nil || h.Type != typ {
		p.t.Fatalf("got %v (%v), want %v", h.Type, err, typ)
	}
	return msg
}

// wantError expects an error about the message with the given xid.
func (p *peer) wantError(xid uint32, typ, code uint16) {
	p.t.Helper()
	e, err := ofp.ParseError(p.want(ofp.TypeError))
	if err != nil || e.XID != xid || e.Type != typ || e.Code != code {
		p.t.Fatalf("error %+v (%v), want xid %d, type %d, code %d", e, err, xid, typ, code)
	}
}

// barrier returns when the switch has dealt with all that was sent.
func (p *peer) barrier(v flow.Protocol) {
	p.t.Helper()
	p.send(ofp.AppendBarrierRequest(nil, v, 99))
	p.want(ofp.TypeBarrierReply)
}

func bothVersions(t *testing.T, test func(t *testing.T, v flow.Protocol)) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		t.Run(v.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, v) })
		})
	}
}

func TestHandshake(t *testing.T) {
	bothVersions(t, func(t *testing.T, v flow.Protocol) {
		sw, p := ready(t, v, Config{DPID: 0xab, NBuffers: 3})
		if err := sw.WaitReady(t.Context()); err != nil || sw.Version() != v {
			t.Fatalf("ready: %v, version %v", err, sw.Version())
		}
		p.send(ofp.AppendEchoRequest(nil, v, 1, []byte("hi")))
		if echo := p.want(ofp.TypeEchoReply); string(echo[ofp.HeaderLen:]) != "hi" {
			t.Errorf("echo of %q", echo[ofp.HeaderLen:])
		}
		p.send(ofp.AppendDescRequest(nil, v, 2))
		if d, err := ofp.ParseDescReply(p.want(ofp.TypeStatsReply)); err != nil || d.Software != "oftest" {
			t.Errorf("desc %+v, %v", d, err)
		}
		if v == flow.OpenFlow13 {
			p.send(ofp.AppendPortDescRequest(nil, 3))
			ports, more, err := ofp.ParsePortDescReply(p.want(ofp.TypeStatsReply))
			if err != nil || more || len(ports) != 4 || ports[3].Name != "s1-eth4" {
				t.Errorf("ports %+v, %v, %v", ports, more, err)
			}
		}
		p.barrier(v)
	})
}

func TestNoVersionInCommon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw, p := connect(t, flow.OpenFlow10, Config{Versions: []flow.Protocol{flow.OpenFlow13}})
		p.wantError(7, ofp.ErrHelloFailed, ofp.HelloIncompatible)
		<-sw.Done()
		if err := sw.Err(); err == nil || !strings.Contains(err.Error(), "no version in common") {
			t.Error(err)
		}
	})
}

// A packet that the switch keeps can be let go once.
func TestBuffers(t *testing.T) {
	bothVersions(t, func(t *testing.T, v flow.Protocol) {
		sw, p := ready(t, v, Config{NBuffers: 2})
		pings := [][]byte{frames.Ping(frames.Host(1), frames.Host(2), 1, 1), frames.Ping(frames.Host(1), frames.Host(2), 1, 2), frames.Ping(frames.Host(1), frames.Host(2), 1, 3)}
		for i, f := range pings {
			if err := sw.PacketIn(flow.PortNo(i+1), f); err != nil {
				t.Fatal(err)
			}
			var pi flow.PacketIn
			if err := ofp.ParsePacketIn(p.want(ofp.TypePacketIn), &pi); err != nil {
				t.Fatal(err)
			}
			if pi.BufferID != uint32(i) || pi.TotalLen != len(f) || pi.Match.InPort != flow.PortNo(i+1) || !bytes.Equal(pi.Data, f) {
				t.Fatalf("PACKET_IN %+v of frame %d", pi, i)
			}
		}
		p.flowMod(v, 20, 1, flow.Rule{Priority: 5, Actions: []flow.Action{flow.OutputTo(2)}})
		p.flowMod(v, 21, 1, flow.Rule{Priority: 6})
		p.wantError(21, errBadRequest, bufferUnknown)
		for xid, buffer := range []uint32{2, 2, 0} { // used, used twice, pushed out by the third packet
			b, err := ofp.AppendPacketOut(nil, v, uint32(xid), &ofp.PacketOut{BufferID: buffer, InPort: 3, Actions: []flow.Action{flow.OutputTo(flow.PortFlood)}})
			if err != nil {
				t.Fatal(err)
			}
			p.send(b)
			if xid > 0 {
				p.wantError(uint32(xid), errBadRequest, bufferUnknown)
			}
		}
		p.barrier(v)
		got := sw.Take()
		if len(got) != 5 {
			t.Fatalf("%d messages: %v", len(got), got)
		}
		if got[0].XID != 20 || !bytes.Equal(got[0].Frame, pings[1]) || got[1].Frame != nil {
			t.Errorf("FLOW_MODs let go %x and %x", got[0].Frame, got[1].Frame)
		}
		if got[2].PacketOut == nil || !bytes.Equal(got[2].Frame, pings[2]) {
			t.Errorf("%v let go %x", got[2], got[2].Frame)
		}
	})
}

func TestMissSendLen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw, p := ready(t, flow.OpenFlow10, Config{})
		long := frames.UDP(frames.Host(1).At(1), frames.Host(2).At(2), make([]byte, 300))
		for _, want := range []int{128, len(long)} {
			if err := sw.PacketIn(1, long); err != nil {
				t.Fatal(err)
			}
			var pi flow.PacketIn
			if err := ofp.ParsePacketIn(p.want(ofp.TypePacketIn), &pi); err != nil || len(pi.Data) != want || pi.TotalLen != len(long) {
				t.Errorf("%d of %d bytes (%v), want %d", len(pi.Data), pi.TotalLen, err, want)
			}
			p.send(ofp.AppendSetConfig(nil, flow.OpenFlow10, 5, 0xffff))
			p.barrier(flow.OpenFlow10)
		}
	})
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// The flow tables as a controller sees them: ADD replaces, DELETE takes what is
// included, DELETE_STRICT the very entry, in 1.3 by cookie where masked.
func TestTables(t *testing.T) {
	bothVersions(t, func(t *testing.T, v flow.Protocol) {
		sw, p := ready(t, v, Config{})
		rule := func(cookie uint64, priority uint16, src string) flow.Rule {
			r := flow.Rule{Cookie: cookie, Priority: priority, Flags: flow.SendFlowRemoved, Actions: []flow.Action{flow.OutputTo(1)}}
			r.Match.SetEthType(flow.EthTypeIPv4)
			if src != "" {
				r.Match.SetIPSrc(prefix(src))
			}
			return r
		}
		with := func(r flow.Rule, change func(*flow.Rule)) flow.Rule { change(&r); return r }
		cookies := func() (list []uint64) {
			for _, e := range sw.Rules() {
				list = append(list, e.Rule.Cookie)
			}
			return list
		}
		want := func(what string, removed []uint64, left ...uint64) {
			t.Helper()
			for _, c := range removed {
				var fr flow.FlowRemoved
				if err := ofp.ParseFlowRemoved(p.want(ofp.TypeFlowRemoved), &fr); err != nil || fr.Cookie != c || fr.Reason != flow.RemovedDelete {
					t.Fatalf("%s: FLOW_REMOVED %+v, %v; want cookie %#x", what, fr, err, c)
				}
			}
			p.barrier(v)
			got := cookies()
			if len(got) != len(left) {
				t.Fatalf("%s: left %#x, want %#x", what, got, left)
			}
			for i := range got {
				if got[i] != left[i] {
					t.Fatalf("%s: left %#x, want %#x", what, got, left)
				}
			}
		}
		p.flowMod(v, 1, flow.NoBuffer, rule(0xa1, 10, "10.1.0.0/16"))
		p.flowMod(v, 1, flow.NoBuffer, rule(0xa2, 10, "10.1.2.0/24"))
		p.flowMod(v, 1, flow.NoBuffer, rule(0xb3, 11, "10.1.2.3/32"))
		p.flowMod(v, 1, flow.NoBuffer, rule(0xb4, 10, ""))
		p.flowMod(v, 1, flow.NoBuffer, rule(0xa5, 10, "10.1.0.0/16"))
		want("adding", nil, 0xa5, 0xa2, 0xb3, 0xb4)

		strict := func(r *flow.Rule) { r.Command = flow.DeleteStrict }
		p.flowMod(v, 2, flow.NoBuffer, with(rule(0, 11, "10.1.2.0/24"), strict))
		want("strict, other priority", nil, 0xa5, 0xa2, 0xb3, 0xb4)
		p.flowMod(v, 2, flow.NoBuffer, with(rule(0, 10, "10.1.0.0/16"), strict))
		want("strict", []uint64{0xa5}, 0xa2, 0xb3, 0xb4)

		del := func(r *flow.Rule) { r.Command = flow.Delete }
		if v == flow.OpenFlow13 {
			p.flowMod(v, 3, flow.NoBuffer, with(rule(0xb0, 0, ""), func(r *flow.Rule) { del(r); r.CookieMask = 0xf0; r.Table = tableAll }))
			want("masked cookie", []uint64{0xb3, 0xb4}, 0xa2)
			return
		}
		p.flowMod(v, 3, flow.NoBuffer, with(rule(0, 0, "10.1.2.0/24"), del))
		want("included", []uint64{0xa2, 0xb3}, 0xb4)
		p.flowMod(v, 3, flow.NoBuffer, with(rule(0, 0, ""), func(r *flow.Rule) { del(r); r.OutPort = 2 }))
		want("other out_port", nil, 0xb4)
	})
}

func TestFlowStats(t *testing.T) {
	bothVersions(t, func(t *testing.T, v flow.Protocol) {
		sw, p := ready(t, v, Config{})
		const n = 450 // three messages
		for i := range n {
			r := flow.Rule{Cookie: uint64(i), Priority: 7}
			r.Match.SetInPort(flow.PortNo(i + 1))
			sw.Load(r)
		}
		b, err := ofp.AppendFlowStatsRequest(nil, v, 4, &ofp.FlowStatsRequest{Table: tableAll, OutPort: flow.PortAny})
		if err != nil {
			t.Fatal(err)
		}
		p.send(b)
		var got, messages int
		for more := true; more; messages++ {
			more, err = ofp.ParseFlowStatsReply(p.want(ofp.TypeStatsReply), func(s *ofp.FlowStats) error {
				if s.Rule.Cookie != uint64(got) || s.Rule.Match.InPort != flow.PortNo(got+1) {
					t.Errorf("entry %d is %v", got, &s.Rule)
				}
				got++
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if got != n || messages != 3 {
			t.Errorf("%d entries in %d messages", got, messages)
		}
	})
}

// A rule makes the switch forward without asking; a goto and the miss entry are
// followed.
func TestForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := flow.OpenFlow13
		sw, p := ready(t, v, Config{})
		ping := frames.Ping(frames.Host(1), frames.Host(2), 1, 1)
		if acts, asked, err := sw.Forward(1, ping); len(acts) != 0 || asked || err != nil {
			t.Fatalf("empty table: %v, %v, %v; want a silent drop", acts, asked, err)
		}
		p.flowMod(v, 1, flow.NoBuffer, flow.Rule{Actions: []flow.Action{{Type: flow.Output, Port: flow.PortController, MaxLen: 0xffff}}})
		p.barrier(v)
		if _, asked, err := sw.Forward(1, ping); !asked || err != nil {
			t.Fatalf("miss entry: %v, %v", asked, err)
		}
		var pi flow.PacketIn
		if err := ofp.ParsePacketIn(p.want(ofp.TypePacketIn), &pi); err != nil || !bytes.Equal(pi.Data, ping) || pi.Reason != flow.ReasonNoMatch {
			t.Fatalf("%+v, %v", pi, err)
		}
		r := flow.Rule{Priority: 9, Goto: 1}
		r.Match.SetInPort(1)
		p.flowMod(v, 2, flow.NoBuffer, r)
		p.flowMod(v, 3, flow.NoBuffer, flow.Rule{Table: 1, Actions: []flow.Action{flow.OutputTo(4)}})
		p.barrier(v)
		acts, asked, err := sw.Forward(1, ping)
		if asked || err != nil || flow.ActionsString(acts) != "output:4" {
			t.Fatalf("%v, %v, %v; want output:4", acts, asked, err)
		}
		if rules := sw.Rules(); rules[1].Packets != 1 || rules[1].Bytes != uint64(len(ping)) {
			t.Errorf("counters %+v", rules[1])
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := flow.OpenFlow13
		sw, p := ready(t, v, Config{NTables: 2, Refuse: func(r *flow.Rule) (flow.SwitchError, bool) {
			return flow.SwitchError{Type: errFlowModFailed, Code: 1}, r.Priority == 666 // TABLE_FULL
		}})
		p.flowMod(v, 1, flow.NoBuffer, flow.Rule{Priority: 666})
		p.wantError(1, errFlowModFailed, 1)
		p.flowMod(v, 2, flow.NoBuffer, flow.Rule{Table: 2})
		p.wantError(2, errFlowModFailed, badTableID)
		p.flowMod(v, 3, flow.NoBuffer, flow.Rule{Meter: 4})
		p.wantError(3, errMeterModFailed, unknownMeter)
		p.send(ofp.AppendMeterAdd(nil, 4, ofp.Meter{ID: 4, Rate: 100}))
		p.flowMod(v, 5, flow.NoBuffer, flow.Rule{Meter: 4})
		p.send(ofp.AppendMeterAdd(nil, 6, ofp.Meter{ID: 4, Rate: 100}))
		p.wantError(6, errMeterModFailed, meterExists)
		p.send([]byte{4, 250, 0, 8, 0, 0, 0, 7})
		p.wantError(7, errBadRequest, badType)
		if rules := sw.Rules(); len(rules) != 1 || rules[0].Rule.Meter != 4 {
			t.Errorf("rules %v", rules)
		}
	})
}

// A switch that does not read holds the controller up, and nothing is lost.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := flow.OpenFlow10
		sw, p := ready(t, v, Config{})
		sw.Stall()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			for i := range uint32(100) {
				p.flowMod(v, i, flow.NoBuffer, flow.Rule{Priority: uint16(i)})
			}
		}()
		synctest.Wait()
		select {
		case <-wrote:
			t.Fatal("a stalled switch took everything")
		default:
		}
		sw.Resume()
		<-wrote
		p.barrier(v)
		if got := sw.Take(); len(got) != 100 || got[99].XID != 99 {
			t.Errorf("%d messages", len(got))
		}
	})
}

func TestEnds(t *testing.T) {
	tests := []struct {
		name string
		send []byte
		want string
	}{
		{"a length under 8", []byte{1, 0, 0, 7, 0, 0, 0, 0}, "length 7"},
		{"cut in a message", []byte{1, 2, 0, 9, 0, 0, 0, 0}, io.ErrUnexpectedEOF.Error()},
		{"another version", ofp.AppendEchoRequest(nil, flow.OpenFlow13, 1, nil), "in a session of OpenFlow 1.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sw, p := ready(t, flow.OpenFlow10, Config{})
				p.send(tt.send)
				p.conn.Close()
				<-sw.Done()
				if err := sw.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				if _, err := sw.Next(t.Context()); err == nil {
					t.Error("Next of a switch that has ended waits for nothing")
				}
				if err := sw.PacketIn(1, nil); err == nil {
					t.Error("PACKET_IN on a connection that has ended")
				}
			})
		})
	}
}

func TestNextTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw, _ := ready(t, flow.OpenFlow10, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := sw.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// A controller has come to rest when it has been silent for long enough.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		sw, p := ready(t, flow.OpenFlow13, Config{})
		go func() {
			for range 3 {
				time.Sleep(80 * time.Millisecond)
				p.barrier(flow.OpenFlow13)
			}
		}()
		if err := sw.Settle(t.Context(), 100*time.Millisecond); err != nil || time.Since(start) != 340*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := sw.Settle(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestDialTargets(t *testing.T) {
	path := t.TempDir() + "/sock"
	for _, target := range []string{"tcp:127.0.0.1:0", "127.0.0.1:0", "unix:" + path} {
		network, addr := "tcp", "127.0.0.1:0"
		if strings.HasPrefix(target, "unix:") {
			network, addr = "unix", path
		}
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		if network == "tcp" {
			target = strings.TrimSuffix(target, "127.0.0.1:0") + ln.Addr().String()
		}
		sw, err := Dial(t.Context(), target, nil, Config{})
		if err != nil {
			t.Errorf("%s: %v", target, err)
		} else {
			sw.Close()
		}
		ln.Close()
	}
	if _, err := Dial(t.Context(), "nonsense", nil, Config{}); err == nil || !strings.Contains(err.Error(), `"nonsense"`) {
		t.Errorf("a target without a port: %v", err)
	}
}

func FuzzHandle(f *testing.F) {
	for _, v := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		f.Add(uint8(v), ofp.AppendFeaturesRequest(nil, v, 1))
		f.Add(uint8(v), ofp.AppendDescRequest(nil, v, 1))
		r := flow.Rule{Match: flow.ParseFrame(frames.TCP(frames.Host(1).At(1), frames.Host(2).At(2), frames.SYN, nil), 1), Actions: []flow.Action{flow.OutputTo(2)}}
		if b, err := ofp.AppendFlowMod(nil, v, 1, &r, 0); err == nil {
			f.Add(uint8(v), b)
		}
		if b, err := ofp.AppendFlowStatsRequest(nil, v, 1, &ofp.FlowStatsRequest{Table: tableAll, OutPort: flow.PortAny}); err == nil {
			f.Add(uint8(v), b)
		}
	}
	f.Fuzz(func(t *testing.T, version uint8, msg []byte) {
		d := NewDatapath(Config{NBuffers: 1})
		v := flow.Protocol(version)
		if _, _, err := d.Handle(nil, ofp.AppendHello(nil, 1, flow.OpenFlow10)); err != nil {
			t.Fatal(err)
		}
		if v == flow.OpenFlow13 {
			d.version = v
		}
		d.Handle(nil, msg) // must not panic
		d.Forward(nil, 1, msg)
	})
}
