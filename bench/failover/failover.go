// Package failover measures what a network notices when one of two gateways dies, hangs, or hands the lead over. The gateways are processes
// with default settings, the switch is an Open vSwitch, and the traffic is real: conversations that are new, one that is installed, and one that
// is denied.
package failover

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"switchbridge/bench"
	"switchbridge/bench/figures"
	"switchbridge/faas/function/devca"
	"switchbridge/gateway"
	"switchbridge/internal/ovs"
	"switchbridge/internal/sibling"
)

// Config says how much is measured.
type Config struct {
	Rounds    int    // kills and hangs, in turn; default 100
	Handovers int    // default 20
	Protocol  string // OpenFlow13 (default) or OpenFlow10
	OnRound   func(*Round)
}

// Quick makes a configuration that takes under two minutes.
func (c *Config) Quick() { c.Rounds, c.Handovers = 15, 6 }

// Round is one kill or hang.
type Round struct {
	What    string        `json:"what"`    // kill or hang
	Refused time.Duration `json:"refused"` // from the fault to the last new conversation that was lost; 0: none was
	Lost    int           `json:"lost"`
	Silence time.Duration `json:"silence"` // the longest pause of the installed conversation
}

// Result is what Run measured.
type Result struct {
	Machine bench.Machine `json:"machine"`
	Rounds  []*Round      `json:"rounds"`
	figures.List
}

// Goals.
const (
	goalP50     = 0.5 // seconds
	goalWorst   = 1.5
	goalSilence = 1.0
)

const policy = `serial: 1
chain:
  - header:
      rules:
        - {name: no-9, priority: 200, match: {udp_dst: 9}, action: deny}
  - forward: {mode: normal}
`

// Run measures. It needs root and Open vSwitch.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Rounds == 0 {
		cfg.Rounds = 100
	}
	if cfg.Handovers == 0 {
		cfg.Handovers = 20
	}
	if cfg.Protocol == "" {
		cfg.Protocol = "OpenFlow13"
	}
	res := &Result{Machine: bench.ThisMachine()}
	program, err := sibling.Find("switchbridge")
	if err != nil {
		return nil, err
	}
	err = ovs.Outside(func(tb ovs.TB) error {
		l, err := newLab(tb, program, cfg.Protocol)
		if err != nil {
			return err
		}
		defer l.close()
		return l.measure(ctx, &cfg, res)
	})
	if err != nil {
		return nil, fmt.Errorf("bench failover: %w", err)
	}
	return res, nil
}

// lab is the network.
type lab struct {
	sw       *ovs.Switchd
	h1, h2   *ovs.Host
	program  string
	dir      string
	gateways [2]*process
	traffic  *traffic
}

// process is one gateway.
type process struct {
	cmd   *exec.Cmd
	admin string
	ended chan struct{}
}

func newLab(tb ovs.TB, program, protocol string) (*lab, error) {
	l := &lab{program: program, sw: ovs.Start(tb, ovs.Options{})}
	if l.sw.Dummy() {
		return nil, errors.New("hosts need root, for network namespaces")
	}
	l.dir = l.sw.Dir()
	ca, err := devca.Open(l.dir)
	if err != nil {
		return nil, err
	}
	var targets, links []string
	for range l.gateways {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		links = append(links, port)
	}
	for name, text := range map[string]string{"policy.yaml": policy, "token": rand.Text() + "\n"} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	for i := range l.gateways {
		cert, key, err := ca.Files(l.dir, fmt.Sprintf("gateway-%d", i), "127.0.0.1")
		if err != nil {
			return nil, err
		}
		socket := filepath.Join(l.dir, fmt.Sprintf("gateway-%d.sock", i))
		targets = append(targets, "unix:"+socket)
		text := fmt.Sprintf("policy: policy.yaml\nfunction: {urls: [native]}\nopenflow: {listen: [\"unix:%s\"]}\nlog: {decisions: \"off\"}\nadmin: {token_file: token}\n"+
			"pair: {listen: %s, peer: %s, member: %d, prefer: %v, cert: %s, key: %s, ca: %s}\n", socket, links[i], links[1-i], i, i == 0, cert, key, ca.Path)
		if err := os.WriteFile(l.config(i), []byte(text), 0o644); err != nil {
			return nil, err
		}
		if err := l.start(i); err != nil {
			return nil, err
		}
	}
	l.sw.AddBridge("br0", ovs.Bridge{DPID: 9, Protocols: []string{protocol}, Controllers: targets})
	l.h1, l.h2 = l.sw.AddHost("br0", "h1"), l.sw.AddHost("br0", "h2")
	for _, pair := range [][2]*ovs.Host{{l.h1, l.h2}, {l.h2, l.h1}} { // ARP would ask, too
		if out, err := pair[0].Command("ip", "neigh", "replace", pair[1].IP.String(), "lladdr", pair[1].MAC.String(), "dev", "eth0").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ip neigh: %w: %s", err, out)
		}
	}
	return l, nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (l *lab) config(i int) string { return filepath.Join(l.dir, fmt.Sprintf("gateway-%d.yaml", i)) }

// log is the end of what a gateway has said.
func (l *lab) log(i int) string {
	text, err := os.ReadFile(filepath.Join(l.dir, fmt.Sprintf("gateway-%d.log", i)))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1000):])
}

func (l *lab) start(i int) error {
	admin, err := freePort()
	if err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(l.dir, fmt.Sprintf("gateway-%d.sock", i)))
	log, err := os.OpenFile(filepath.Join(l.dir, fmt.Sprintf("gateway-%d.log", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p := &process{cmd: exec.Command(l.program, "run", "--config", l.config(i), "--admin", admin), admin: "http://" + admin, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	l.gateways[i] = p
	return nil
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL)
	<-p.ended
}

func (l *lab) close() {
	if l.traffic != nil {
		l.traffic.stop()
	}
	for _, p := range l.gateways {
		if p != nil {
			p.kill()
		}
	}
}

// status asks a gateway, which may hang.
func (p *process) status(ctx context.Context) (*gateway.GatewayStatus, []gateway.SwitchStatus, error) {
	var st gateway.GatewayStatus
	var switches []gateway.SwitchStatus
	for path, v := range map[string]any{"/api/v1/status": &st, "/api/v1/switches": &switches} {
		if err := get(ctx, p.admin+path, v); err != nil {
			return nil, nil, err
		}
	}
	return &st, switches, nil
}

func get(ctx context.Context, url string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(v)
}

// settled waits until one gateway leads the switch and the other stands by, connected and answered, and returns which leads.
func (l *lab) settled(ctx context.Context) (int, error) {
	var last error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		leads, by := -1, 0
		for i, p := range l.gateways {
			select {
			case <-p.ended:
				return 0, fmt.Errorf("gateway %d has ended; its log: %s", i, l.log(i))
			default:
			}
			st, switches, err := p.status(ctx)
			if err != nil {
				last = err
				continue
			}
			if st.Pair == nil || !st.Pair.Answers || len(switches) != 1 {
				continue
			}
			switch {
			case st.Pair.Leads && switches[0].State == "ready":
				leads = i
			case !st.Pair.Leads && switches[0].State == "standby":
				by++
			}
		}
		if leads >= 0 && by == 1 {
			return leads, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	return 0, fmt.Errorf("the gateways do not agree within 20 s who leads (%v)", last)
}

func (l *lab) measure(ctx context.Context, cfg *Config, res *Result) error {
	if _, err := l.settled(ctx); err != nil {
		return err
	}
	var err error
	if l.traffic, err = startTraffic(l.h1, l.h2); err != nil {
		return err
	}
	for i := range cfg.Rounds {
		round, err := l.round(ctx, i%2 == 1)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		res.Rounds = append(res.Rounds, round)
		if cfg.OnRound != nil {
			cfg.OnRound(round)
		}
	}
	began := time.Now()
	for i := range cfg.Handovers {
		leads, err := l.settled(ctx)
		if err != nil {
			return err
		}
		if err := l.handover(ctx, leads); err != nil {
			return fmt.Errorf("handover %d: %w", i+1, err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(lateBy)
	handed := l.traffic.since(began)
	l.report(res, handed)
	return nil
}

// handover has the leader give the lead away, as an operator does.
func (l *lab) handover(ctx context.Context, leads int) error {
	out, err := exec.CommandContext(ctx, l.program, "pair", "handover", "--admin", l.gateways[leads].admin, "--admin-token-file", filepath.Join(l.dir, "token")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// round has the leader die or hang, and waits until both gateways are well again.
func (l *lab) round(ctx context.Context, hang bool) (*Round, error) {
	leads, err := l.settled(ctx)
	if err != nil {
		return nil, err
	}
	time.Sleep(200 * time.Millisecond)
	r := &Round{What: "kill"}
	fault := time.Now()
	if hang {
		r.What = "hang"
		if err := l.gateways[leads].signal(syscall.SIGSTOP); err != nil {
			return nil, err
		}
		time.Sleep(2 * time.Second)
		if err := l.gateways[leads].signal(syscall.SIGCONT); err != nil {
			return nil, err
		}
	} else {
		l.gateways[leads].kill()
		time.Sleep(time.Second)
		if err := l.start(leads); err != nil {
			return nil, err
		}
	}
	if _, err := l.settled(ctx); err != nil {
		return nil, err
	}
	time.Sleep(lateBy)
	seen := l.traffic.since(fault)
	r.Refused, r.Lost, r.Silence = seen.refused, seen.lost, seen.silence
	return r, nil
}

func (l *lab) report(res *Result, handed seen) {
	var refused []float64
	silence := time.Duration(0)
	for _, r := range res.Rounds {
		refused = append(refused, r.Refused.Seconds())
		silence = max(silence, r.Silence)
	}
	slices.Sort(refused)
	res.AtMost("failover.refused_p50_s", refused[len(refused)/2], goalP50)
	res.AtMost("failover.refused_worst_s", refused[len(refused)-1], goalWorst)
	res.AtMost("failover.installed_silence_worst_s", silence.Seconds(), goalSilence)
	res.AtMost("failover.handover_lost", float64(handed.lost), 0)
	all := l.traffic.since(time.Time{})
	res.Note("failover.conversations", float64(all.sent))
	if all.twice > 0 {
		res.Failf("failover", "%d frames arrived twice", all.twice)
	}
	if n := l.traffic.forbidden(); n > 0 {
		res.Failf("failover", "%d denied frames arrived", n)
	}
}

// WriteText writes the rounds and the figures.
func (r *Result) WriteText(w io.Writer) error { return r.List.WriteText(w) }
