package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"switchbridge/bench/stats"
)

// Cbench is the paper's load generator, of the oflops suite. It speaks OpenFlow 1.0.
type Cbench struct {
	Program  string        // empty: cbench, on PATH
	Duration time.Duration // of a run, before which there is another as long to warm up: 1 s
}

// CbenchInstall says where it comes from.
const CbenchInstall = "build cbench of github.com/mininet/oflops with the headers of github.com/mininet/openflow, and put it on PATH"

// Find says where the program is, or wraps [ErrNotInstalled].
func (c Cbench) Find() (string, error) {
	path, err := exec.LookPath(cmp.Or(c.Program, "cbench"))
	if err != nil {
		return "", fmt.Errorf("cbench: %w: %v", ErrNotInstalled, err)
	}
	return path, nil
}

var cbenchResult = regexp.MustCompile(`RESULT: 1 switches \d+ tests min/max/avg/stdev = [\d.]+/[\d.]+/([\d.]+)/`)

// Run has one of its switches ask the controller at an address, and returns the messages a second that answer.
func (c Cbench) Run(ctx context.Context, addr, mode string) (perSecond float64, err error) {
	path, err := c.Find()
	if err != nil {
		return 0, err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("cbench: %w", err)
	}
	duration := cmp.Or(c.Duration, time.Second)
	args := []string{"-c", host, "-p", port, "-s", "1", "-l", "2", "-w", "1", "-m", strconv.FormatInt(duration.Milliseconds(), 10), "-M", "100000"}
	if mode == Flood {
		args = append(args, "-t")
	}
	// It spins for ever where a read ends inside a message's header.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+4*duration)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var said, complained bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &complained
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	found := cbenchResult.FindSubmatch(said.Bytes())
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("cbench: it did not end: %w", context.Cause(ctx))
	case err != nil:
		return 0, fmt.Errorf("cbench: %w: %.200s", err, bytes.TrimSpace(complained.Bytes()[max(0, complained.Len()-200):]))
	case found == nil:
		return 0, fmt.Errorf("cbench: it printed no result: %.200s", said.Bytes())
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

// agreement is how far cbench and this load generator may be apart: a tenth.
const agreement = 0.1

// AgreementRow is what both load generators say of one controller, in cbench's terms: messages that answer, a second, and any of
// them lets the next packet go.
type AgreementRow struct {
	Name   string    `json:"name"`
	Mode   string    `json:"mode"`
	Err    string    `json:"error,omitempty"`
	Ours   []float64 `json:"ours_per_s"`
	Cbench []float64 `json:"cbench_per_s"`
}

// Ratio is ours to cbench's, of the medians; 0 without rounds.
func (r *AgreementRow) Ratio() float64 {
	if c := median(r.Cbench); c > 0 {
		return median(r.Ours) / c
	}
	return 0
}

// Agrees says whether they are no more than a tenth apart.
func (r *AgreementRow) Agrees() bool {
	q := r.Ratio()
	return q >= 1-agreement && q <= 1/(1-agreement)
}

// AgreementConfig says what is measured by both. Zero values take the defaults named.
type AgreementConfig struct {
	Peers    []Peer
	Cbench   Cbench
	Rounds   int           // 10
	Duration time.Duration // of one run: 1 s
	// OnRound, where set, is called before each round of a peer.
	OnRound func(round int, p *Peer)
}

// Agreement measures controllers by cbench and by this load generator in turn: each round starts a controller, has both load it in both modes,
// and stops it. It fails where cbench is missing; a controller that is missing or fails has rows that say so.
func Agreement(ctx context.Context, cfg AgreementConfig) ([]*AgreementRow, error) {
	if _, err := cfg.Cbench.Find(); err != nil {
		return nil, err
	}
	cfg.Rounds, cfg.Duration = cmp.Or(cfg.Rounds, 10), cmp.Or(cfg.Duration, time.Second)
	cfg.Cbench.Duration = cfg.Duration
	var rows []*AgreementRow
	modes := []string{Latency, Flood}
	for i := range cfg.Peers {
		for _, mode := range modes {
			row := &AgreementRow{Name: cfg.Peers[i].Name, Mode: mode}
			if _, err := cfg.Peers[i].Find(); err != nil {
				row.Err = err.Error()
			}
			rows = append(rows, row)
		}
	}
	for n := range cfg.Rounds {
		for i := range cfg.Peers {
			mine := rows[i*len(modes) : (i+1)*len(modes)]
			if mine[0].Err != "" && mine[1].Err != "" {
				continue
			}
			if cfg.OnRound != nil {
				cfg.OnRound(n, &cfg.Peers[i])
			}
			if err := cfg.round(ctx, n, &cfg.Peers[i], mine); ctx.Err() != nil {
				return rows, ctx.Err()
			} else if err != nil {
				mine[0].Err, mine[1].Err = err.Error(), err.Error()
			}
		}
	}
	return rows, nil
}

func (cfg *AgreementConfig) round(ctx context.Context, n int, p *Peer, rows []*AgreementRow) error {
	proc, err := p.Run(ctx)
	if err != nil {
		return err
	}
	defer proc.Close()
	for _, row := range rows {
		if row.Err != "" {
			continue
		}
		ours := func() error {
			r, err := Controller(ctx, ControllerConfig{Target: proc.Addr, Protocol: p.Protocol, Mode: row.Mode, AnyAnswer: true, Runs: 1, Duration: cfg.Duration, WarmUp: cfg.Duration,
				FirstAnswer: 10 * time.Second})
			if err == nil {
				row.Ours = append(row.Ours, r.PerSecond.Median)
			}
			return err
		}
		theirs := func() error {
			v, err := cfg.Cbench.Run(ctx, proc.Addr, row.Mode)
			if err == nil {
				row.Cbench = append(row.Cbench, v)
			}
			return err
		}
		first, second := ours, theirs
		if n%2 == 1 { // neither is always the one that finds a controller which has just been started
			first, second = theirs, ours
		}
		if err := errors.Join(first(), second()); err != nil && ctx.Err() == nil {
			row.Err = fmt.Sprintf("round %d: %v", n+1, err)
		}
	}
	return nil
}

// WriteAgreement writes a table.
func WriteAgreement(w io.Writer, rows []*AgreementRow) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "messages/s\tmode\tours\tmin\tmax\tcbench\tmin\tmax\tours / cbench\t\t")
	for _, row := range rows {
		if row.Err != "" {
			fmt.Fprintf(t, "%s\t%s\t%s\t\n", row.Name, row.Mode, row.Err)
			continue
		}
		o, c := stats.SpreadOf(row.Ours), stats.SpreadOf(row.Cbench)
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%s\t\n", row.Name, row.Mode, o.Median, o.Min, o.Max, c.Median, c.Min, c.Max, row.Ratio(), row.Verdict())
	}
	return t.Flush()
}

// Verdict is Agrees in words.
func (r *AgreementRow) Verdict() string {
	if r.Agrees() {
		return "agree"
	}
	return "apart"
}
