package replay

import (
	"bytes"
	"context"
	"encoding/csv"
	"io"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"switchbridge/flow"
	"switchbridge/replay/capture"
)

func generate(t testing.TB, cfg GenerateConfig) (file []byte, table [][]string, res Generated) {
	t.Helper()
	var pcap, expected bytes.Buffer
	res, err := Generate(&pcap, &expected, cfg)
	if err != nil {
		t.Fatal(err)
	}
	table, err = csv.NewReader(&expected).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return pcap.Bytes(), table[1:], res
}

// Every profile, replayed against a policy that denies 203.0.113.0/24, gives as
// many events as it has flows, each with the verdict that was expected.
func TestGeneratedVerdicts(t *testing.T) {
	blocked := netip.MustParsePrefix("203.0.113.0/24")
	policy := func(_ context.Context, ev *flow.Event, d *flow.Decision) error {
		d.Verdict = flow.Allow
		if blocked.Contains(ev.PacketIn.Match.IPDst.Addr()) {
			d.Verdict = flow.Deny
		}
		return nil
	}
	for _, p := range Profiles {
		t.Run(p.Name, func(t *testing.T) {
			p.Flows /= 10
			p.Duration /= 10
			file, table, res := generate(t, GenerateConfig{Profile: p, Seed: 1})
			var mem memory
			sum, err := Run(t.Context(), Config{
				Files: []string{"-"}, Stdin: bytes.NewReader(file), Decider: flow.DeciderFunc(policy), Records: &mem, Pace: PaceMax, FlowTimeout: time.Hour,
			})
			if err != nil {
				t.Fatal(err)
			}
			if res.Flows != p.Flows || sum.Events != int64(p.Flows) || sum.Packets != int64(res.Packets) || sum.Denied != int64(res.Denied) || res.Denied == 0 {
				t.Fatalf("generated %+v of %d flows, replayed %+v", res, p.Flows, sum)
			}
			for i, r := range mem.list {
				want := table[i]
				if strconv.Itoa(r.Packet) != want[0] || r.Match.IPSrc.Addr().String() != want[1] || r.Match.IPDst.Addr().String() != want[2] || r.Verdict.String() != want[6] {
					t.Fatalf("event %d: packet %d %v %v, want %v", i, r.Packet, r.Match, r.Verdict, want)
				}
			}
		})
	}
}

func TestGenerateIsReproducible(t *testing.T) {
	p, err := ProfileNamed("home")
	if err != nil {
		t.Fatal(err)
	}
	p.Flows = 300
	one, _, _ := generate(t, GenerateConfig{Profile: p, Seed: 1})
	again, _, _ := generate(t, GenerateConfig{Profile: p, Seed: 1})
	other, _, _ := generate(t, GenerateConfig{Profile: p, Seed: 2})
	if !bytes.Equal(one, again) || bytes.Equal(one, other) {
		t.Error("the seed does not make the capture")
	}
}

// The organisation's set has the size and the shape that it is said to have.
func TestOrganisation(t *testing.T) {
	p, err := ProfileNamed("organisation")
	if err != nil {
		t.Fatal(err)
	}
	file, table, res := generate(t, GenerateConfig{Profile: p, Seed: 7})
	if res.Flows != 34_974 || len(table) != 34_974 {
		t.Errorf("%+v", res)
	}
	if share := float64(res.Denied) / float64(res.Flows); share < 0.015 || share > 0.04 { // 5 % of conversations, whose answers are missing
		t.Errorf("%.3f denied", share)
	}
	r, err := capture.NewReader(bytes.NewReader(file), "-")
	if err != nil {
		t.Fatal(err)
	}
	var length time.Duration
	sizes := map[int]int{} // how many conversations began within a millisecond of one
	var begun, all []time.Duration
	first := map[string]bool{}
	for _, row := range table {
		first[row[0]] = true
	}
	for {
		pkt, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		length = pkt.Offset
		if m := flow.ParseFrame(pkt.Frame, 1); first[strconv.Itoa(pkt.Number)] {
			all = append(all, pkt.Offset)
			if m.EthSrc[3] == 1 { // from inside
				begun = append(begun, pkt.Offset)
			}
		}
	}
	if r.ClockBack != 0 || length < 55*time.Minute || length > 65*time.Minute {
		t.Errorf("%v long, %d packets out of order", length, r.ClockBack)
	}
	for i := range len(all) - 4 {
		if all[i+4]-all[i] < 16*time.Millisecond {
			t.Fatalf("five flows begin within %v, at %v", all[i+4]-all[i], all[i])
		}
	}
	for i := 0; i < len(begun); {
		n := 1
		for i+n < len(begun) && begun[i+n]-begun[i] < time.Millisecond {
			n++
		}
		sizes[min(n, 5)]++
		i += n
	}
	if sizes[1] < 10*sizes[3] || sizes[2] < 3*sizes[3] || sizes[3] == 0 || sizes[4] == 0 || sizes[5] > 0 {
		t.Errorf("bursts of %v", sizes)
	}
}

func TestGenerateErrors(t *testing.T) {
	if _, err := ProfileNamed("campus"); err == nil {
		t.Error("a profile that does not exist")
	}
	if _, err := Generate(io.Discard, nil, GenerateConfig{}); err == nil {
		t.Error("an empty profile")
	}
	p := Profiles[0]
	if _, err := Generate(io.Discard, nil, GenerateConfig{Profile: p, BlockedShare: 2}); err == nil {
		t.Error("a share of 2")
	}
	if _, err := Generate(io.Discard, nil, GenerateConfig{Profile: p, Blocked: make([]netip.Addr, 1)}); err == nil {
		t.Error("no address")
	}
	if _, err := Generate(full{}, nil, GenerateConfig{Profile: p}); err == nil {
		t.Error("a full disk")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
