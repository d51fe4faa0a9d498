// Package scale measures how a gateway and its function grow: with switches, rules, addresses, events that wait, and states; how they fare for
// long with many states ([Soak]); and several of them side by side while each in turn is killed ([Cluster]).
package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/chart"
	"switchbridge/bench/figures"
	"switchbridge/bench/fleet"
	"switchbridge/bench/stats"
	"switchbridge/faas/function/devca"
	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// Config says how much is measured.
type Config struct {
	Quick bool
	Only  []string             // names of dimensions; default: all
	Dir   string               // for the plot; empty: none is drawn
	OnRow func(r *Row, of int) // where set, is called after each of so many
}

// Row is one size of one dimension.
type Row struct {
	Dimension string        `json:"dimension"`
	Size      int           `json:"size"`
	Rate      float64       `json:"events_per_s"` // offered, open loop
	Latency   stats.Latency `json:"latency"`      // from when a packet was due to its answer
	Away      time.Duration `json:"away_ns"`      // of that, the way to a function elsewhere and back
	CPU       time.Duration `json:"cpu_per_event_ns"`
	RSS       int64         `json:"rss_bytes"` // the gateway's greatest
	Ready     time.Duration `json:"ready_ns"`  // from its start until it decided
	Lost      uint64        `json:"lost"`
	Wrong     uint64        `json:"wrong"`
	Failed    string        `json:"failed,omitempty"`
}

// Result is what Run measured.
type Result struct {
	Machine bench.Machine `json:"machine"`
	Rows    []*Row        `json:"rows"`
	figures.List
}

// point is what is measured at one size.
type point struct {
	policy   string
	files    map[string]string
	config   string        // further lines of the gateway's
	away     time.Duration // round trip to a function elsewhere; 0: it is embedded
	switches int
	rate     float64 // of all switches
	warm     float64 // packets a second of a first phase, in which each of first packets is sent once; 0: none
	first    int
	packet   func(sw int, n uint32) fleet.Packet
}

// dimension is what grows.
type dimension struct {
	name  string
	sizes []int
	at    func(size int) point
}

const (
	usual     = 1000 // events a second
	usualLoad = 16   // switches
)

// Addresses of packets.
var (
	inside = frames.Host(200)
	barred = netip.MustParseAddr("203.0.113.9")
)

const smallPolicy = "serial: 1\nchain:\n  - blocklist: {addresses: [203.0.113.9]}\n  - forward: {mode: normal}\n"

// flows are packets of new flows. One in eight goes to an address that the policies deny.
func flows(sw int, n uint32) fleet.Packet {
	from := frames.Host(uint8(1 + sw%100)).At(uint16(1024 + n%60_000))
	if n%8 == 0 {
		to := inside.At(80)
		to.IP = barred
		return fleet.Packet{Frame: frames.TCP(from, to, frames.SYN, nil), Deny: true}
	}
	return fleet.Packet{Frame: frames.TCP(from, inside.At(uint16(1+n/60_000)), frames.SYN, nil)}
}

// source is a host of many: each has a state of its own.
func source(i int) frames.Endpoint {
	e := frames.Host(1)
	e.MAC = flow.MAC{0x02, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}
	e.IP = netip.AddrFrom4([4]byte{10, byte(64 + i>>16), byte(i >> 8), byte(i)})
	return e
}

var dimensions = []dimension{
	{"switches", []int{1, 16, 250, 1000, 4000}, func(size int) point {
		return point{policy: smallPolicy, switches: size, rate: usual, packet: flows}
	}},
	{"rules", []int{10, 1000, 10_000}, rules},
	{"rules_native", []int{10_000, 100_000}, native(rules)},
	{"addresses", []int{1, 1000, 100_000}, addresses},
	{"addresses_native", []int{100_000, 1_000_000}, native(addresses)},
	// A function that is away for so long that so many events wait for it at a time. Each is of another source, so that no answer is used again.
	{"under_way", []int{1, 10, 100, 1000}, func(size int) point {
		const away, switches = time.Second, 64
		return point{policy: smallPolicy, config: "function: {protocol: http2, concurrency: 2048, try_timeout: 8s, timeout: 10s}\nlimits: {queue: 4096}\n", away: away, switches: switches, rate: float64(size) / away.Seconds(),
			packet: func(sw int, n uint32) fleet.Packet {
				return fleet.Packet{Frame: frames.UDP(source((int(n)*switches+sw)%1e6).At(4000), inside.At(knock), nil)}
			}}
	}},
	{"states", []int{1, 1000, 10_000, 100_000}, func(size int) point {
		return point{policy: ringPolicy("next"), config: "state: {url: \"memory:\"}\n", switches: usualLoad, rate: usual, first: size, warm: 10_000,
			packet: func(sw int, n uint32) fleet.Packet {
				i := (int(n)*usualLoad + sw) % size
				return fleet.Packet{Frame: frames.UDP(source(i).At(4000), inside.At(knock), nil)}
			}}
	}},
}

// rules is a policy with so many of them.
func rules(size int) point {
	var b strings.Builder
	b.WriteString("serial: 1\nchain:\n  - blocklist: {addresses: [203.0.113.9]}\n  - header:\n      rules:\n")
	for i := range size {
		fmt.Fprintf(&b, "        - {name: r%d, match: {ip_src: 11.%d.%d.%d, tcp_dst: %d}, action: deny}\n", i, byte(i>>16), byte(i>>8), byte(i), 1+i%1000)
	}
	b.WriteString("  - forward: {mode: normal}\n")
	return point{policy: b.String(), switches: usualLoad, rate: usual, packet: flows}
}

// addresses is a blocklist of so many of them.
func addresses(size int) point {
	var b strings.Builder
	fmt.Fprintln(&b, barred)
	for i := range size - 1 {
		fmt.Fprintf(&b, "%d.%d.%d.%d\n", 11+i>>24, byte(i>>16), byte(i>>8), byte(i))
	}
	return point{policy: "serial: 1\nchain:\n  - blocklist: {files: [list.txt]}\n  - forward: {mode: normal}\n", files: map[string]string{"list.txt": b.String()},
		switches: usualLoad, rate: usual, packet: flows}
}

// native has the controller called in the gateway: more than an embedded instance's memory takes.
func native(at func(int) point) func(int) point {
	return func(size int) point {
		p := at(size)
		p.config += "function: {urls: [native]}\n"
		return p
	}
}

// Run measures.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	res := &Result{Machine: bench.ThisMachine()}
	for _, name := range cfg.Only {
		if !slices.ContainsFunc(dimensions, func(d dimension) bool { return d.name == name }) {
			return nil, fmt.Errorf("bench scale: dimension %q: want one of %s", name, strings.Join(Dimensions(), ", "))
		}
	}
	core, err := fleet.Core()
	if err != nil {
		return nil, fmt.Errorf("bench scale: %w", err)
	}
	wanted, of := slices.DeleteFunc(slices.Clone(dimensions), func(d dimension) bool { return cfg.Only != nil && !slices.Contains(cfg.Only, d.name) }), 0
	for _, d := range wanted {
		of += len(d.sizes)
	}
	for _, d := range wanted {
		for _, size := range d.sizes {
			row := &Row{Dimension: d.name, Size: size}
			p := d.at(size)
			if err := p.measure(ctx, cfg.Quick, core, row); ctx.Err() != nil {
				return res, ctx.Err()
			} else if err != nil {
				row.Failed = err.Error()
			}
			res.Rows = append(res.Rows, row)
			if cfg.OnRow != nil {
				cfg.OnRow(row, of)
			}
		}
	}
	res.report()
	if cfg.Dir == "" {
		return res, nil
	}
	return res, res.plot(cfg.Dir)
}

// Dimensions are the names of what grows.
func Dimensions() (names []string) {
	for _, d := range dimensions {
		names = append(names, d.name)
	}
	return names
}

// measure starts a gateway, has it answer, and notes what that takes.
func (p *point) measure(ctx context.Context, quick bool, core int, row *Row) error {
	row.Rate, row.Away = p.rate, p.away
	config, pids := p.config+"policy: policy.yaml\n", []int(nil)
	files := map[string]string{"policy.yaml": p.policy}
	for name, text := range p.files {
		files[name] = text
	}
	if p.away > 0 {
		dir, err := os.MkdirTemp("", "switchbridge-scale-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		f, ca, err := startFunction(ctx, dir, p.policy)
		if err != nil {
			return err
		}
		defer f.Close()
		pids = append(pids, f.PID())
		far, cancel := context.WithCancel(ctx)
		defer cancel()
		addr, wait, err := bench.Distance{Target: f.Addr, Delay: p.away / 2}.Far(far, false)
		if err != nil {
			return err
		}
		defer wait()
		defer cancel()
		config = strings.Replace(p.config, "function: {", fmt.Sprintf("function: {urls: [%q], ca: %q, ", "https://"+addr, ca), 1)
	}
	g, err := bench.Gateway(ctx, "log: {decisions: \"off\"}\nopenflow: {max_per_address: 4096}\n"+config, files)
	if err != nil {
		return err
	}
	defer g.Close()
	row.Ready = g.Took
	pids = append(pids, g.PID())
	memory := bench.WatchMemory(g.PID())
	defer memory.Stop()
	load, err := fleet.Dial(fleet.Config{Addrs: []string{g.Addr}, Switches: p.switches, First: 1, Rate: p.rate, Packet: p.packet})
	if err != nil {
		return err
	}
	defer load.Close()
	d, warm := 4*time.Second, time.Second
	if quick {
		d, warm = time.Second+p.away, 300*time.Millisecond
	}
	if p.first > 0 {
		load.Pace(p.warm)
		fleet.Urgent(core, func() { load.Run(time.Duration(float64(p.first)/p.warm*float64(time.Second)), nil, true) })
		load.Pace(p.rate)
	}
	fleet.Urgent(core, func() { load.Run(warm, nil, true) })
	cpu := func() (all time.Duration, err error) {
		for _, pid := range pids {
			c, err := bench.GroupCPU(pid)
			if err != nil {
				return 0, err
			}
			all += c
		}
		return all, nil
	}
	before, err := cpu()
	if err != nil {
		return err
	}
	var h stats.Histogram
	var t fleet.Tally
	fleet.Urgent(core, func() { t = load.Run(d, &h, true) })
	after, err := cpu()
	if err != nil {
		return err
	}
	row.Latency, row.Lost, row.Wrong, row.RSS = h.Latency(), t.Lost, t.Wrong, memory.Reset()
	row.CPU = (after - before) / time.Duration(max(t.Answered, 1))
	if n, example := load.Ended(); n > 0 {
		return fmt.Errorf("%d connections ended: %s", n, example)
	}
	if t.Wrong > 0 {
		return fmt.Errorf("%d of %d answers are wrong: %s", t.Wrong, t.Sent, t.Example)
	}
	if t.Lost > 0 {
		return fmt.Errorf("%d of %d packets had no answer", t.Lost, t.Sent)
	}
	return nil
}

// startFunction starts a function that decides by the text of a policy file, with an authority of its own in a folder, whose certificate is in the file ca.
func startFunction(ctx context.Context, dir, policy string, args ...string) (f *bench.Process, ca string, err error) {
	authority, err := devca.Open(dir)
	if err != nil {
		return nil, "", err
	}
	p := bench.Peer{Name: "function", Files: map[string]string{"policy.yaml": policy},
		Command: append([]string{"{self}", "function", "serve", "--listen", "127.0.0.1:{port}", "--dev-ca", dir, "--policy", "{dir}/policy.yaml",
			"--records", "off", "--log-level", "error", "--concurrency", "2048"}, args...)}
	f, err = p.Launch(ctx, func(ctx context.Context, r *bench.Process) error {
		return bench.Ask(ctx, http.MethodGet, "https://"+r.Addr+"/readyz", authority.Path)
	})
	return f, authority.Path, err
}

// report makes figures of the rows.
func (res *Result) report() {
	for _, r := range res.Rows {
		name := fmt.Sprintf("scale.%s_%d", r.Dimension, r.Size)
		if r.Failed != "" {
			res.Failf(name, "%s", r.Failed)
			continue
		}
		res.Note(name+".p50_us", micro(r.Latency.P50-r.Away))
		res.Note(name+".p99_us", micro(r.Latency.P99-r.Away))
		res.Note(name+".cpu_us", micro(r.CPU))
		res.Note(name+".rss_mb", float64(r.RSS)/1e6)
	}
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (res *Result) plot(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lines := func(of func(*Row) float64) (list []chart.Line) {
		for _, name := range Dimensions() {
			l := chart.Line{Name: strings.ReplaceAll(name, "_", " ")}
			for _, r := range res.Rows {
				if v := of(r); r.Dimension == name && v > 0 {
					l.X, l.Y = append(l.X, float64(r.Size)), append(l.Y, v)
				}
			}
			list = append(list, l)
		}
		return list
	}
	for _, p := range []struct {
		name, title, y string
		of             func(*Row) float64
	}{
		{"scale-time", "Time of an event, median, without the way to a function elsewhere", "µs", func(r *Row) float64 { return micro(r.Latency.P50 - r.Away) }},
		{"scale-cpu", "Processor time of an event", "µs", func(r *Row) float64 { return micro(r.CPU) }},
		{"scale-memory", "The gateway's memory", "MB", func(r *Row) float64 { return float64(r.RSS) / 1e6 }},
	} {
		if err := chart.Lines(dir, p.name, p.title, "how many", p.y, lines(p.of)); err != nil {
			return err
		}
	}
	return nil
}

// head is a line of the table.
const head = "%-10s %8s %9s %10s %10s %8s %8s %8s\n"

// WriteHead writes the names of a row's columns.
func WriteHead(w io.Writer) error {
	_, err := fmt.Fprintf(w, head, "what", "how many", "events/s", "p50 µs", "p99 µs", "CPU µs", "MB", "ready s")
	return err
}

// WriteText writes a row's line.
func (r *Row) WriteText(w io.Writer) error {
	us := func(d time.Duration) string { return fmt.Sprintf("%.0f", micro(d)) }
	_, err := fmt.Fprintf(w, head, r.Dimension, fmt.Sprint(r.Size), fmt.Sprintf("%.0f", r.Rate), us(r.Latency.P50-r.Away), us(r.Latency.P99-r.Away), us(r.CPU),
		fmt.Sprintf("%.0f", float64(r.RSS)/1e6), fmt.Sprintf("%.2f", r.Ready.Seconds()))
	return err
}

// WriteText writes the table and the figures.
func (res *Result) WriteText(w io.Writer) error {
	fmt.Fprintln(w, res.Machine)
	if err := WriteHead(w); err != nil {
		return err
	}
	for _, r := range res.Rows {
		if err := r.WriteText(w); err != nil {
			return err
		}
	}
	return res.List.WriteText(w)
}
