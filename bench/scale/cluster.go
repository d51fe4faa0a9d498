package scale

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"switchbridge/bench"
	"switchbridge/bench/figures"
	"switchbridge/bench/fleet"
	"switchbridge/bench/stats"
	"switchbridge/faas/function/devca"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/internal/frames"
	"switchbridge/internal/sibling"
)

// ClusterConfig says how much is there.
type ClusterConfig struct {
	Quick    bool
	Switches int                    // of each pair of gateways; default 250
	Rate     float64                // events a second, of both pairs together; default 200
	Rounds   int                    // in each of which every party is killed once; default 2
	OnFault  func(f *Fault, of int) // where set, is called after each of so many
}

// Fault is one party's death, and what became of packets until all was well again.
type Fault struct {
	Party   string        `json:"party"` // leader, standby, store_leader, store_follower or function
	Which   string        `json:"which"`
	Events  int           `json:"events"`
	Refused int           `json:"refused"` // denied since something was away, though the policy allows them, or never answered
	Last    time.Duration `json:"last_ns"` // from the kill to the last packet that was refused; 0: none was
}

// ClusterResult is what Cluster saw.
type ClusterResult struct {
	Machine bench.Machine `json:"machine"`
	Faults  []*Fault      `json:"faults"`
	figures.List
}

// Cluster has two pairs of gateways, each with many switches, ask one function, whose states are in a NATS cluster of three. Each party is killed in turn,
// and comes back. Machines count what their sources send, so that an update that was lost or made twice shows, whichever gateway was asked.
func Cluster(ctx context.Context, cfg ClusterConfig) (*ClusterResult, error) {
	def := func(v *int, usual, quick int) {
		if *v == 0 {
			if *v = usual; cfg.Quick {
				*v = quick
			}
		}
	}
	def(&cfg.Switches, 250, 40)
	def(&cfg.Rounds, 2, 1)
	if cfg.Rate == 0 {
		cfg.Rate = 200
	}
	dir, err := os.MkdirTemp("", "switchbridge-cluster-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := &cluster{cfg: &cfg, dir: dir, book: newBook(300), res: &ClusterResult{Machine: bench.ThisMachine()}}
	defer c.close()
	if err := c.run(ctx); err != nil {
		return nil, fmt.Errorf("bench cluster: %w", err)
	}
	return c.res, nil
}

// cluster is all that runs.
type cluster struct {
	cfg      *ClusterConfig
	dir      string
	res      *ClusterResult
	members  []*member // all
	stores   []*member
	function *member
	gateways [4]*member // 0 and 1 are a pair, and so are 2 and 3
	fleets   [2]*fleet.Fleet
	book     *book
}

// member is a process that is killed and comes back with the same arguments.
type member struct {
	name  string
	args  []string
	addr  string // where it serves
	admin string // URL of its admin side
	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
}

func (m *member) start() error {
	log, err := os.OpenFile(filepath.Join(m.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	m.cmd, m.ended = exec.Command(m.args[0], m.args[1:]...), make(chan struct{})
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(m.cmd, m.ended)
	return nil
}

func (m *member) kill() {
	_ = m.cmd.Process.Kill()
	<-m.ended
}

// until asks again and again, for as long as the member runs.
func (m *member) until(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-m.ended:
			said, _ := os.ReadFile(filepath.Join(m.dir, m.name+".log")) // that it ended is what counts
			return fmt.Errorf("%s has ended; it said: %s", m.name, said[max(0, len(said)-1000):])
		case <-ctx.Done():
			return fmt.Errorf("%s is not %s in time: %w", m.name, what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *cluster) member(name, addr string, args ...string) (*member, error) {
	m := &member{name: name, args: args, addr: addr, dir: c.dir}
	c.members = append(c.members, m)
	return m, m.start()
}

func (c *cluster) close() {
	for _, f := range c.fleets {
		if f != nil {
			f.Close()
		}
	}
	for _, m := range c.members {
		if m.ended != nil {
			m.kill()
		}
	}
}

// addrs are n addresses at which nobody listens.
func addrs(n int) (list []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list, nil
}

// counts is how many states a source's machine has, one for each knock.
const counts = 60

// countPolicy has a machine for each source of UDP that counts its knocks; the count is the port that a knock is sent to.
func countPolicy() string {
	var states, transitions, all []string
	for i := range counts {
		states = append(states, fmt.Sprintf("n%d: {output: %d}", i, i+1))
		all = append(all, fmt.Sprintf("n%d", i))
		if i > 0 {
			transitions = append(transitions, fmt.Sprintf("{from: n%d, to: n%d, match: {udp_dst: %d}}", i-1, i, knock))
		}
	}
	return "serial: 1\nchain:\n  - blocklist: {addresses: [203.0.113.9]}\n  - machine:\n      machines:\n" +
		"        - {name: count, for: {ip_proto: udp}, key: src, forget: 1h, start: n0,\n           states: {" + strings.Join(states, ", ") + ", shut: deny},\n" +
		"           transitions: [" + strings.Join(transitions, ", ") + fmt.Sprintf(", {from: [%s], to: shut, match: {udp_dst: %d}}", strings.Join(all, ", "), shut) + "]}\n" +
		"  - forward: {mode: normal}\n"
}

// begin starts all parties.
func (c *cluster) begin(ctx context.Context) error {
	program, err := sibling.Find("switchbridge")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	at, err := addrs(3 + 3 + 1 + 4*3)
	if err != nil {
		return err
	}
	ca, err := devca.Open(c.dir)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "policy.yaml"), []byte(countPolicy()), 0o600); err != nil {
		return err
	}
	for i := range 3 {
		name := fmt.Sprintf("store-%d", i)
		m, err := c.member(name, at[i], self, "nats-server", "--listen", at[i], "--dir", filepath.Join(c.dir, name), "--name", name, "--cluster", at[3+i], "--routes", strings.Join(at[3:6], ","))
		if err != nil {
			return err
		}
		c.stores = append(c.stores, m)
	}
	if err := c.stores[0].until(ctx, "one of a cluster", c.bucket); err != nil {
		return err
	}
	if c.function, err = c.member("function", at[6], program, "function", "serve", "--listen", at[6], "--dev-ca", c.dir, "--policy", filepath.Join(c.dir, "policy.yaml"),
		"--state", "nats://"+at[0], "--instances", "4", "--records", "off", "--log-level", "error"); err != nil {
		return err
	}
	ready := func(ctx context.Context) error {
		return bench.Ask(ctx, http.MethodGet, "https://"+at[6]+"/readyz", ca.Path)
	}
	if err := c.function.until(ctx, "ready", ready); err != nil {
		return err
	}
	for i := range c.gateways {
		addr, admin, link, peer := at[7+i], at[11+i], at[15+i], at[15+(i^1)]
		cert, key, err := ca.Files(c.dir, fmt.Sprintf("gateway-%d", i), "127.0.0.1")
		if err != nil {
			return err
		}
		config := filepath.Join(c.dir, fmt.Sprintf("gateway-%d.yaml", i))
		text := fmt.Sprintf("function: {urls: [\"https://%s\"], ca: %s}\nopenflow: {listen: [\"tcp:%s\"]}\nlog: {decisions: \"off\", level: error}\n"+
			"pair: {listen: %s, peer: %s, member: %d, prefer: %v, cert: %s, key: %s, ca: %s}\n", at[6], ca.Path, addr, link, peer, i%2, i%2 == 0, cert, key, ca.Path)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		m, err := c.member(fmt.Sprintf("gateway-%d", i), addr, program, "run", "--config", config, "--admin", admin)
		if err != nil {
			return err
		}
		m.admin = "http://" + admin
		c.gateways[i] = m
	}
	for _, g := range c.gateways {
		if err := g.until(ctx, "there", func(ctx context.Context) error { _, err := g.status(ctx); return err }); err != nil {
			return err
		}
	}
	for i := range c.fleets {
		f, err := fleet.Dial(fleet.Config{Addrs: []string{c.gateways[2*i].addr, c.gateways[2*i+1].addr}, Switches: c.cfg.Switches, First: flow.DPID(1 + i*c.cfg.Switches),
			Ports: 64, Rate: c.cfg.Rate / 2, Packet: c.book.packet, Judge: c.book.judge, Redial: true})
		if err != nil {
			return err
		}
		c.fleets[i] = f
	}
	return nil
}

// bucket makes the one that states are in, with three replicas.
func (c *cluster) bucket(ctx context.Context) error {
	conn, err := nats.Connect("nats://" + c.stores[0].addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "KV_switchbridge", Subjects: []string{"$KV.switchbridge.>"}, MaxMsgsPerSubject: 1, MaxMsgs: 100_000,
		Discard: jetstream.DiscardNew, MaxMsgSize: 8192, Storage: jetstream.FileStorage, Replicas: 3, AllowRollup: true, DenyDelete: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: 2 * time.Minute})
	return err
}

// whole says whether all three servers have what is stored, and which of them leads.
func (c *cluster) whole(ctx context.Context) (leads string, err error) {
	conn, err := nats.Connect("nats://" + c.stores[0].addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "KV_switchbridge")
	if err != nil {
		return "", err
	}
	info := s.CachedInfo().Cluster
	if info == nil || info.Leader == "" || len(info.Replicas) != 2 {
		return "", errors.New("the bucket has not three replicas")
	}
	for _, r := range info.Replicas {
		if !r.Current || r.Offline {
			return "", fmt.Errorf("replica %s is behind", r.Name)
		}
	}
	return info.Leader, nil
}

// status asks a gateway for its own.
func (m *member) status(ctx context.Context) (*gateway.GatewayStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.admin+"/api/v1/status", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var st gateway.GatewayStatus
	return &st, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&st)
}

// leader is the one of a pair that leads; the other one answers.
func (c *cluster) leader(ctx context.Context, pair int) (leads int, err error) {
	leads = -1
	for i := 2 * pair; i < 2*pair+2; i++ {
		st, err := c.gateways[i].status(ctx)
		if err != nil {
			return -1, err
		}
		if st.Pair == nil || !st.Pair.Answers {
			return -1, fmt.Errorf("%s does not hear the other one", c.gateways[i].name)
		}
		if st.Pair.Leads {
			leads = i
		}
	}
	if leads < 0 {
		return -1, errors.New("none of the pair leads")
	}
	return leads, nil
}

// well waits until all parties are as they should be.
func (c *cluster) well(ctx context.Context) error {
	for pair := range c.fleets {
		if err := c.gateways[2*pair].until(ctx, "one of a pair", func(ctx context.Context) error { _, err := c.leader(ctx, pair); return err }); err != nil {
			return err
		}
	}
	_, err := c.storeLeader(ctx)
	return err
}

// storeLeader waits until all three servers have what is stored, and returns which of them leads. Beside traffic a replica is behind now and then, for a moment.
func (c *cluster) storeLeader(ctx context.Context) (leads string, err error) {
	err = c.stores[0].until(ctx, "one of three that have it all", func(ctx context.Context) (err error) {
		leads, err = c.whole(ctx)
		return err
	})
	return leads, err
}

func (c *cluster) run(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	core, err := fleet.Core()
	if err != nil {
		return err
	}
	// Each fleet runs on a thread of its own until all is over.
	over := make(chan struct{})
	var threads sync.WaitGroup
	var h [2]stats.Histogram
	tallies := make([]fleet.Tally, 2)
	for i, f := range c.fleets {
		threads.Go(func() {
			fleet.Urgent(core, func() {
				for last := false; !last; {
					select {
					case <-over:
						last = true
					default:
					}
					t := f.Run(250*time.Millisecond, &h[i], last)
					tallies[i].Sent += t.Sent
					tallies[i].Answered += t.Answered
					if tallies[i].Wrong += t.Wrong; tallies[i].Example == "" {
						tallies[i].Example = t.Example
					}
				}
			})
		})
	}
	if err = c.costs(ctx); err == nil {
		err = c.faults(ctx)
	}
	close(over)
	threads.Wait()
	if err != nil {
		return err
	}
	h[0].Merge(&h[1])
	c.report(h[0].Latency(), tallies)
	return nil
}

// faults kills each party in turn.
func (c *cluster) faults(ctx context.Context) error {
	const calm, away = 3 * time.Second, 3 * time.Second
	of := c.cfg.Rounds * (2*len(c.fleets) + len(c.stores) + 1)
	kill := func(party string, m *member) error {
		if err := c.well(ctx); err != nil {
			return err
		}
		pause(ctx, calm)
		began := time.Now()
		m.kill()
		pause(ctx, away)
		if err := m.start(); err != nil {
			return err
		}
		if err := c.well(ctx); err != nil {
			return err
		}
		pause(ctx, calm)
		f := &Fault{Party: party, Which: m.name}
		f.Events, f.Refused, f.Last = c.book.since(began)
		c.res.Faults = append(c.res.Faults, f)
		if c.cfg.OnFault != nil {
			c.cfg.OnFault(f, of)
		}
		return ctx.Err()
	}
	for range c.cfg.Rounds {
		for pair := range c.fleets {
			if err := c.well(ctx); err != nil {
				return err
			}
			leads, err := c.leader(ctx, pair)
			if err != nil {
				return err
			}
			if err := kill("leader", c.gateways[leads]); err != nil {
				return err
			}
			if leads, err = c.leader(ctx, pair); err != nil {
				return err
			}
			if err := kill("standby", c.gateways[leads^1]); err != nil {
				return err
			}
		}
		for _, m := range c.stores {
			leads, err := c.storeLeader(ctx)
			if err != nil {
				return err
			}
			party := "store_follower"
			if leads == m.name {
				party = "store_leader"
			}
			if err := kill(party, m); err != nil {
				return err
			}
		}
		if err := kill("function", c.function); err != nil {
			return err
		}
	}
	return c.well(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// costs notes what an event takes of each kind of party while all are well.
func (c *cluster) costs(ctx context.Context) error {
	if err := c.well(ctx); err != nil {
		return err
	}
	pause(ctx, time.Second)
	before, first := c.cpu(), c.book.count()
	pause(ctx, 5*time.Second)
	after, n := c.cpu(), c.book.count()-first
	for _, kind := range []string{"gateway", "function", "store"} {
		c.res.Note("cluster."+kind+"s.cpu_us_per_event", micro(after[kind]-before[kind])/float64(max(n, 1)))
	}
	return ctx.Err()
}

// cpu is what each kind of party has used, of those processes that run.
func (c *cluster) cpu() map[string]time.Duration {
	used := map[string]time.Duration{}
	for _, m := range c.members {
		kind, _, _ := strings.Cut(m.name, "-")
		if d, err := bench.GroupCPU(m.cmd.Process.Pid); err == nil {
			used[kind] += d
		}
	}
	return used
}

func (c *cluster) report(l stats.Latency, tallies []fleet.Tally) {
	res := c.res
	sent := tallies[0].Sent + tallies[1].Sent
	res.Note("cluster.switches", float64(2*c.cfg.Switches))
	res.Note("cluster.events", float64(sent))
	res.Note("cluster.p50_ms", float64(l.P50)/float64(time.Millisecond))
	res.Note("cluster.p99_ms", float64(l.P99)/float64(time.Millisecond))
	for _, party := range []string{"leader", "standby", "store_leader", "store_follower", "function"} {
		var refused int
		var last time.Duration
		for _, f := range res.Faults {
			if f.Party == party {
				refused += f.Refused
				last = max(last, f.Last)
			}
		}
		res.Note("cluster."+party+".refused", float64(refused))
		res.Note("cluster."+party+".refused_worst_s", last.Seconds())
	}
	for _, m := range c.members {
		res.Note("cluster."+m.name+".rss_mb", float64(bench.Resident(m.cmd.Process.Pid))/1e6)
	}
	c.book.report(&res.List)
	for i, t := range tallies {
		if t.Wrong > 0 {
			res.Failf("cluster", "of pair %d %d answers are wrong: %s", i+1, t.Wrong, t.Example)
		}
	}
}

// counted is a source, as its answers have shown it.
type counted struct {
	id      int       // of [source]
	probes  int       // packets since it is shut
	seen    int       // the count that the last answer had
	maybe   int       // knocks since that may have counted: refused. The next one that counts takes their place, for the store swaps a version once
	late    int       // knocks, however old, without an answer: they may wait somewhere, be counted at any time, and be answered then
	shut    bool      // the answer to its last knock said that it is shut
	waits   bool      // a packet of it is under way
	sent    time.Time // when
	serial  uint64    // of that packet
	closing bool      // that packet shuts
}

// book is what both fleets know of all sources, whichever pair they ask.
type book struct {
	mu       sync.Mutex
	sources  []counted
	next     int
	outcomes []outcome

	ids                               int // sources that there have been
	moves, shut, lost, twice, through int
	example                           string
}

func newBook(n int) *book {
	b := &book{sources: make([]counted, n), ids: n}
	for i := range b.sources {
		b.sources[i].id = i
	}
	return b
}

type outcome struct {
	at    time.Time
	fine  bool
	count bool // it is an allowed packet: one that is refused shows that something is away
	src   int  // -1: a packet without a state
	id    int  // of the source that had this place
}

// closeAt is the count at which a source is shut, another one for each, so that at any time some are counted and some are shut.
func (s *counted) closeAt() int { return 3 + s.id*7%40 }

// probesOfShut is how many packets of a source that is shut are sent before another source takes its place. None may pass.
const probesOfShut = 10

// packet is the next one of any switch: of four, one has no state, one is denied in every eighth turn, and the others are knocks of the next source of
// which none is under way.
func (b *book) packet(sw int, n uint32) fleet.Packet {
	b.mu.Lock()
	defer b.mu.Unlock()
	serial := uint64(len(b.outcomes) + 1)
	now := time.Now()
	if n%4 == 0 {
		p := flows(sw, n/4)
		p.Tag = serial
		b.outcomes = append(b.outcomes, outcome{at: now, count: !p.Deny, fine: p.Deny, src: -1})
		return p
	}
	i := b.next
	for range b.sources {
		if s := &b.sources[i]; !s.waits || now.Sub(s.sent) > fleet.AnswerLimit+time.Second {
			break
		}
		i = (i + 1) % len(b.sources)
	}
	b.next = (i + 1) % len(b.sources)
	s := &b.sources[i]
	switch {
	case s.shut && s.probes == probesOfShut:
		*s = counted{id: b.ids}
		b.ids++
	case s.shut:
		s.probes++
	case s.waits && !s.closing: // nobody answered its last one
		s.late++
	}
	s.waits, s.sent, s.serial, s.closing = true, now, serial, s.seen >= s.closeAt() && !s.shut
	port := uint16(knock)
	if s.closing {
		port = shut
	}
	b.outcomes = append(b.outcomes, outcome{at: now, count: !s.shut && !s.closing, fine: s.shut || s.closing, src: i, id: s.id})
	return fleet.Packet{Frame: frames.UDP(source(s.id).At(4000), inside.At(port), nil), InPort: counts + 1, Tag: serial}
}

// judge compares an answer with what is known of its source.
func (b *book) judge(p *fleet.Packet, a fleet.Answer) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.Rule != nil && !a.Rule.Match.Covers(&p.Match) {
		return fleet.Right(p, a)
	}
	o := &b.outcomes[p.Tag-1]
	passed := len(a.Actions) > 0
	if o.src < 0 {
		if p.Deny && passed {
			b.through++
			return fleet.Right(p, a)
		}
		o.fine = o.fine || passed
		return ""
	}
	s := &b.sources[o.src]
	if s.serial != p.Tag { // later than the next packet: where it has counted, in which order nobody knows
		if s.id == o.id && o.count && !passed && s.late > 0 {
			s.late, s.maybe = s.late-1, s.maybe+1
		}
		return ""
	}
	s.waits = false
	note := func(n *int, format string, args ...any) {
		*n++
		if b.example == "" {
			b.example = fmt.Sprintf(format, args...)
		}
	}
	switch {
	case s.shut && passed:
		note(&b.through, "source %d was shut, and %s is done with its packet", s.id, flow.ActionsString(a.Actions))
	case s.shut:
	case s.closing:
		if passed {
			note(&b.through, "the packet that shuts source %d passed: %s", s.id, flow.ActionsString(a.Actions))
		}
		s.shut = a.Rule != nil // a drop that is a rule is the state's; one without is because something is away
		if s.shut {
			b.moves++
			b.shut++
		}
	case !passed:
		s.maybe++
	default:
		o.fine = true
		count := int(a.Actions[0].Port) - 1
		if count < s.seen+1 {
			note(&b.lost, "source %d counts %d after %d and one more knock", s.id, count, s.seen)
		}
		more := count - s.seen - 1 // than this one
		if more > s.maybe+s.late {
			note(&b.twice, "source %d counts %d after %d and %d more knocks", s.id, count, s.seen, 1+s.maybe+s.late)
		}
		s.late -= min(max(more-s.maybe, 0), s.late)
		s.seen, s.maybe = count, 0
		b.moves++
	}
	return ""
}

// since sums up what became of packets that were sent after a moment and could be answered by now.
func (b *book) since(began time.Time) (events, refused int, last time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	end := time.Now().Add(-time.Second)
	for i := range b.outcomes {
		o := &b.outcomes[i]
		if o.at.Before(began) || o.at.After(end) || !o.count {
			continue
		}
		if events++; !o.fine {
			refused++
			last = o.at.Sub(began)
		}
	}
	return events, refused, last
}

// count is how many packets were sent.
func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.outcomes)
}

// report makes figures and failures of what the sources' answers have shown.
func (b *book) report(l *figures.List) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.Note("cluster.updates", float64(b.moves))
	l.Note("cluster.sources_shut", float64(b.shut))
	for _, f := range []struct {
		n    int
		what string
	}{{b.lost, "updates were lost"}, {b.twice, "updates were made more than once"}, {b.through, "denied packets were let through"}} {
		if f.n > 0 {
			l.Failf("cluster", "%d %s: %s", f.n, f.what, b.example)
		}
	}
	if b.shut == 0 {
		l.Failf("cluster", "no source was shut, so that nothing shows whether its packets pass")
	}
}

// WriteText writes the faults and the figures.
func (r *ClusterResult) WriteText(w io.Writer) error {
	fmt.Fprintln(w, r.Machine)
	for _, f := range r.Faults {
		if err := f.WriteText(w); err != nil {
			return err
		}
	}
	return r.List.WriteText(w)
}

// WriteText writes a line.
func (f *Fault) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%-14s %-10s killed: %d of %d packets refused, the last %.2f s after\n", f.Party, f.Which, f.Refused, f.Events, f.Last.Seconds())
	return err
}
