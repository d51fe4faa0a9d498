package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"switchbridge/bench/figures"
	"switchbridge/bench/stats"
)

// VersusConfig says which controllers to measure side by side. Zero values take the
// defaults named.
type VersusConfig struct {
	Peers    []Peer
	Rounds   int           // 10
	Duration time.Duration // of one run: 1 s
	WarmUp   time.Duration // before each: 1 s
	// OnRound, where set, is called after each round of a peer.
	OnRound func(round int, p *Peer, r *Round)
}

// Round is what one start of a controller showed, with one fake switch.
type Round struct {
	Took    time.Duration // from exec to the first answered connection
	Latency *ControllerResult
	Flood   *ControllerResult
}

// Measure starts the peer, measures it in both modes with one run each, and stops it.
func (p *Peer) Measure(ctx context.Context, duration, warmUp time.Duration) (*Round, error) {
	proc, err := p.Run(ctx)
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	cfg := ControllerConfig{Target: proc.Addr, Protocol: p.Protocol, Runs: 1, Duration: duration, WarmUp: warmUp, FirstAnswer: 10 * time.Second, Mode: Latency}
	r := &Round{Took: proc.Took}
	if r.Latency, err = Controller(ctx, cfg); err != nil {
		return nil, err
	}
	cfg.Mode = Flood
	if r.Flood, err = Controller(ctx, cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// VersusRow is one controller's figures: medians of its rounds.
type VersusRow struct {
	Name    string    `json:"name"`
	Err     string    `json:"error,omitempty"` // why there is no more
	Rounds  int       `json:"rounds"`
	Latency []float64 `json:"latency_answered_per_s"` // PACKET_INs answered, one at a time; each round's
	Flood   []float64 `json:"flood_answered_per_s"`   // as many as the connection takes
	P50     []float64 `json:"latency_p50_us"`
	P99     []float64 `json:"latency_p99_us"`
	// PerPacketIn is how many messages answered one PACKET_IN under flood.
	PerPacketIn float64 `json:"responses_per_packet_in"`
}

// VersusResult is what [Versus] measured.
type VersusResult struct {
	Rows []*VersusRow `json:"controllers"`
	figures.List
}

// Versus measures controllers round by round, so that what changes on the machine
// meanwhile touches all of them. One that is not installed or fails has a row that says
// so.
func Versus(ctx context.Context, cfg VersusConfig) (*VersusResult, error) {
	if cfg.Rounds == 0 {
		cfg.Rounds = 10
	}
	if cfg.Duration == 0 {
		cfg.Duration = time.Second
	}
	if cfg.WarmUp == 0 {
		cfg.WarmUp = time.Second
	}
	res := new(VersusResult)
	for i := range cfg.Peers {
		row := &VersusRow{Name: cfg.Peers[i].Name}
		if _, err := cfg.Peers[i].Find(); err != nil {
			row.Err = err.Error()
		}
		res.Rows = append(res.Rows, row)
	}
	for n := range cfg.Rounds {
		for i, row := range res.Rows {
			if row.Err != "" {
				continue
			}
			r, err := cfg.Peers[i].Measure(ctx, cfg.Duration, cfg.WarmUp)
			if ctx.Err() != nil {
				return res, ctx.Err()
			}
			if err != nil {
				row.Err = fmt.Sprintf("round %d: %v", n+1, err)
				continue
			}
			row.add(r)
			if cfg.OnRound != nil {
				cfg.OnRound(n, &cfg.Peers[i], r)
			}
		}
	}
	res.judge()
	return res, nil
}

func (row *VersusRow) add(r *Round) {
	row.Rounds++
	row.Latency = append(row.Latency, r.Latency.Answered.Median)
	row.Flood = append(row.Flood, r.Flood.Answered.Median)
	row.P50 = append(row.P50, float64(r.Latency.Latency.P50)/1e3)
	row.P99 = append(row.P99, float64(r.Latency.Latency.P99)/1e3)
	row.PerPacketIn = r.Flood.PerPacketIn
}

// median is 0 without rounds.
func median(rounds []float64) float64 { return stats.SpreadOf(rounds).Median }

// judge compares the gateway with Open vSwitch's own controller, in PACKET_INs answered.
func (r *VersusResult) judge() {
	rows := map[string]*VersusRow{}
	for _, row := range r.Rows {
		rows[row.Name] = row
		if row.Rounds == 0 {
			continue
		}
		name := "controller." + strings.Join(strings.FieldsFunc(strings.ToLower(row.Name), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }), "_")
		r.Note(name+".one_at_a_time_per_s", median(row.Latency))
		r.Note(name+".flood_per_s", median(row.Flood))
	}
	for i, goal := range []struct {
		name           string
		latency, flood float64
	}{{"pristine", 1, 3}, {"native", 1.2, 9}} {
		row := rows[SelfPeers()[i].Name]
		if row == nil || row.Rounds == 0 {
			continue
		}
		r.AtMost("controller."+goal.name+"_p99_to_p50", median(row.P99)/median(row.P50), 4)
		if peer := rows[NameTestController]; peer != nil && peer.Rounds > 0 {
			r.AtLeast("controller."+goal.name+"_vs_peer", median(row.Latency)/median(peer.Latency), goal.latency)
			r.AtLeast("controller."+goal.name+"_flood_vs_peer", median(row.Flood)/median(peer.Flood), goal.flood)
		}
	}
	for _, self := range SelfPeers() {
		if row := rows[self.Name]; row != nil && row.Err != "" {
			r.Failf("controller", "%s: %s", row.Name, row.Err)
		}
	}
}

// WriteText writes the table, then the figures.
func (r *VersusResult) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "PACKET_INs answered/s\tone at a time\tmin\tmax\tp50 µs\tp99 µs\tflood\tmin\tmax\tmessages each\t")
	for _, row := range r.Rows {
		if row.Rounds == 0 {
			fmt.Fprintf(t, "%s\t%s\t\n", row.Name, row.Err)
			continue
		}
		l, f := stats.SpreadOf(row.Latency), stats.SpreadOf(row.Flood)
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.2f\t\n", row.Name,
			l.Median, l.Min, l.Max, median(row.P50), median(row.P99), f.Median, f.Min, f.Max, row.PerPacketIn)
	}
	return errors.Join(t.Flush(), r.List.WriteText(w))
}
