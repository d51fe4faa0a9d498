package p4bridge

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/internal/flowtest"
	"switchbridge/internal/frames"
	"switchbridge/policy/machine"
	"switchbridge/policy/policyfile"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/memory"
)

// remembering returns a controller with machines, whose states are in memory of its own.
func remembering(t *testing.T, text string) flow.Decider {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(text), "policy.yaml", ".")
	if err != nil {
		t.Fatal(err)
	}
	store, err := memory.Open(t.Context(), access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := controller.New(p)
	return state.New(state.Config{Next: c, Machines: c, Store: store, Check: machine.CheckValue})
}

// TestMachines has a sensor's report stop a camera that sends without end, a scan of ports end at its threshold, and a gateway that comes back without its states
// remove what rested on them.
func TestMachines(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := fastConfig(r)
		cfg.Miss = MissPunt
		s, stop := runUntil(t, cfg, remembering(t, flowtest.Machines(1, 10)))
		defer func() { stop() }()
		serving(t, s)

		var sent atomic.Uint32
		datagram := func(from byte, port uint16) []byte {
			return frames.UDP(frames.Host(from).At(40000), frames.Host(9).At(port), fmt.Appendf(nil, "%08d", sent.Add(1)))
		}
		number := func(frame []byte) (n uint32) {
			_, _ = fmt.Sscanf(string(frame[len(frame)-8:]), "%08d", &n)
			return n
		}
		report := func(port uint16) {
			t.Helper()
			frame := datagram(1, port)
			r.packet(t, 1, frame)
			expect(t, r, 3, frame)
		}
		rules := func() (n int) { // for the camera
			for _, table := range []string{"flow_exact", "flow"} {
				for _, e := range entries(t, r, table) {
					if rule, shown, _ := binding().Rule(e); shown && rule.Match.IPSrc == netip.PrefixFrom(frames.Host(2).IP, 32) {
						n++
					}
				}
			}
			return n
		}
		// stream has the camera send until there is a rule for it, and looks whether its frames pass then.
		stream := func(what string, passes bool) {
			t.Helper()
			eventually(t, "a rule says what becomes of the camera's stream "+what, func() bool {
				r.packet(t, 2, datagram(2, 5004))
				return rules() > 0
			})
			frame := datagram(2, 5004)
			r.packet(t, 2, frame)
			if passes {
				expect(t, r, 3, frame)
			} else {
				quiet(t, r, frame, 100*time.Millisecond)
			}
		}

		stream("before there is motion", false)
		for range 3 {
			report(5683)
			if n := rules(); n != 0 {
				t.Errorf("after the report of motion %d rules of the sensor's quiet are there", n)
			}
			stream("while there is motion", true)

			end, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					r.packet(t, 2, datagram(2, 5004))
					select {
					case <-end:
						return
					case <-time.After(500 * time.Microsecond):
					}
				}
			}()
			before := sent.Load()
			eventually(t, "the camera streams", func() bool { return sent.Load() > before+20 })
			report(5684)
			last := sent.Load() + 1 // which may be on its way
			eventually(t, "the camera sends on", func() bool { return sent.Load() > last+50 })
			close(end)
			<-done
			mark := datagram(1, uint16(10000+last))
			r.packet(t, 1, mark)
			passed := 0
			for timeout, there := time.After(10*time.Second), false; !there; {
				select {
				case f := <-r.out():
					if there = string(f.Data) == string(mark); !there && number(f.Data) > last {
						passed++
					}
				case <-timeout:
					t.Fatal("the sensor's last frame does not arrive")
				}
			}
			if passed > 0 {
				t.Errorf("%d frames of the camera passed after the sensor's report", passed)
			}
			stream("after the sensor's report", false)
		}

		reached, last := map[uint16]bool{}, frames.TCP(frames.Host(6).At(40000), frames.Host(9).At(80), frames.SYN, nil)
		for i := range 60 {
			r.packet(t, 2, frames.TCP(frames.Host(5).At(40000), frames.Host(9).At(uint16(1000+i)), frames.SYN, nil))
		}
		r.packet(t, 2, last)
		timeout, again := time.After(10*time.Second), time.NewTicker(100*time.Millisecond)
		defer again.Stop()
		for there := false; !there; {
			select {
			case f := <-r.out():
				if m := flow.ParseFrame(f.Data, 1); m.L4Dst >= 1000 {
					reached[m.L4Dst] = true
				}
				there = string(f.Data) == string(last)
			case <-again.C: // BMv2 loses what it can't send to the gateway in time
				r.packet(t, 2, last)
			case <-timeout:
				t.Fatal("somebody else's connection does not pass")
			}
		}
		if len(reached) != 9 {
			t.Errorf("%d of 60 ports were reached, want 9", len(reached))
		}

		report(5683)
		stream("while there is motion", true)
		stop()
		s, stop = runUntil(t, cfg, remembering(t, flowtest.Machines(1, 10)))
		serving(t, s)
		eventually(t, "the rules of states that are forgotten go", func() bool { return rules() == 0 })
		stream("after a restart that has forgotten the motion", false)
	})
}

// knocking lets 10.0.0.1 ask 10.0.0.2, and be answered, until it sends to UDP port 9999.
const knocking = `
serial: 1
chain:
  - machine:
      machines:
        - name: client
          for: {eth_type: ipv4}
          key: src
          forget: never
          start: trusted
          states: {trusted: next, shut: deny}
          transitions: [{from: trusted, to: shut, match: {udp_dst: 9999}}, {from: shut, to: trusted, match: {udp_dst: 9998}}]
  - header:
      rules:
        - {name: web, match: {ip_dst: 10.0.0.2, tcp_dst: 80}, action: {output: 2}, replies: allow}
        - {name: marks, match: {udp_dst: 7}, action: {output: 3}}
  - forward: {mode: flood}
`

// TestRepliesBehindMachines has a machine be asked about a question before the entry that lets its answers in: when its state changes, the entries of the
// question and of the answer go before anything else passes.
func TestRepliesBehindMachines(t *testing.T) {
	onBoth(t, func(t *testing.T, r rig) {
		cfg := fastConfig(r)
		cfg.Miss = MissPunt
		s, stop := runUntil(t, cfg, remembering(t, strings.Replace(knocking, "  - forward", "        - {name: nothing-else, match: {eth_type: ipv4}, priority: 1, action: deny}\n  - forward", 1)))
		defer stop()
		serving(t, s)
		client, server := frames.Host(1), frames.Host(2)
		count := func(src uint16, passes bool) (n int) { // entries that let packets of TCP from a port pass, or don't
			for _, e := range entries(t, r, "flow_exact") {
				if rule, shown, _ := binding().Rule(e); shown && rule.Passes() == passes && rule.Match.IPProto == flow.ProtoTCP && rule.Match.L4Src == src {
					n++
				}
			}
			return n
		}
		// passes sends a frame until it leaves, which BMv2 may lose on its way to the gateway.
		passes := func(what string, from, by uint32, frame []byte) {
			t.Helper()
			timeout, again := time.After(15*time.Second), time.NewTicker(200*time.Millisecond)
			defer again.Stop()
			for r.packet(t, from, frame); ; {
				select {
				case f := <-r.out():
					if f.Port == by && string(f.Data) == string(frame) {
						return
					}
				case <-again.C:
					r.packet(t, from, frame)
				case <-timeout:
					t.Fatalf("%s does not pass", what)
				}
			}
		}
		// denied sends a frame, and a mark behind it that passes.
		marks := 0
		denied := func(what string, from uint32, frame []byte) {
			t.Helper()
			r.packet(t, from, frame)
			marks++
			mark := frames.UDP(frames.Host(7).At(uint16(1000+marks)), frames.Host(8).At(7), nil)
			timeout, again := time.After(15*time.Second), time.NewTicker(200*time.Millisecond)
			defer again.Stop()
			for r.packet(t, 4, mark); ; {
				select {
				case f := <-r.out():
					if string(f.Data) == string(frame) {
						t.Fatalf("%s passes", what)
					}
					if string(f.Data) == string(mark) {
						return
					}
				case <-again.C:
					r.packet(t, 4, mark)
				case <-timeout:
					t.Fatal("the mark does not pass")
				}
			}
		}
		for round := range uint16(2) {
			// Each frame is sent for one purpose, so that one which comes late is not taken for another.
			question := func(what string) []byte {
				return frames.TCP(client.At(40000+round), server.At(80), frames.SYN, []byte(what))
			}
			answer := func(what string) []byte {
				return frames.TCP(server.At(80), client.At(40000+round), frames.SYN|frames.ACK, []byte(what))
			}
			denied("an answer that nobody asked for", 2, answer("first"))
			eventually(t, "the entry of its denial ends", func() bool { return count(80, false) == 0 })
			passes("the question", 1, 2, question(""))
			passes("the answer", 2, 1, answer(""))
			if count(80, true) == 0 || count(40000+round, true) == 0 {
				t.Error("no entries of the question and of its answer")
			}
			r.packet(t, 1, frames.UDP(client.At(1), server.At(9999), nil))
			eventually(t, "the entries of who is shut out go", func() bool { return count(80, true) == 0 && count(40000+round, true) == 0 })
			denied("an answer to who is shut out", 2, answer("last"))
			denied("a question of who is shut out", 1, question("last"))
			r.packet(t, 1, frames.UDP(client.At(1), server.At(9998), nil))
			eventually(t, "nothing is denied by the state that was left", func() bool { return count(40000+round, false) == 0 })
		}
	})
}
