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
func remembering(t *testing.T) flow.Decider {
	t.Helper()
	p, err := policyfile.Parse(strings.NewReader(flowtest.Machines(1, 10)), "policy.yaml", ".")
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
		s, stop := runUntil(t, cfg, remembering(t))
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
		s, stop = runUntil(t, cfg, remembering(t))
		serving(t, s)
		eventually(t, "the rules of states that are forgotten go", func() bool { return rules() == 0 })
		stream("after a restart that has forgotten the motion", false)
	})
}
