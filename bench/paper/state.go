package paper

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"switchbridge/bench"
	"switchbridge/bench/figures"
	"switchbridge/bench/stats"
	"switchbridge/controller"
	"switchbridge/faas/instance/embedded"
	"switchbridge/flow"
	"switchbridge/flow/decider"
	"switchbridge/internal/dynamolocal"
	"switchbridge/policy/policyfile"
	"switchbridge/replay"
	"switchbridge/state/stores"
	"switchbridge/state/stores/every"
	"switchbridge/state/travel"
)

// StateConfig says how policies that remember are measured beside policies that don't.
type StateConfig struct {
	Quick bool
	// Local starts a function on this machine that decides by the text of a policy file. args are more of its flags.
	Local func(ctx context.Context, policy string, args ...string) (f *Function, stop func(), err error)
	// Stores are travelling, memory, bbolt, redis (where redis-server is installed), dynamodb (DynamoDB Local, where it and Java are there,
	// and root) and nats, and others as NAME=URL; default: these six.
	Stores []string
	OnStep func(step string)
	OnDone func(done, of int) // where set, is called after each of so many parts

	smoke bool // figures of no weight
}

// StateRow is one policy, one store and one way to ask.
type StateRow struct {
	Way     string        `json:"way"`    // native, embedded, https or far
	Policy  string        `json:"policy"` // blocklist, header, machine; round_trips: header, and two round trips of a bare client to the store
	Store   string        `json:"store,omitempty"`
	Paper   float64       `json:"paper_ms,omitempty"` // the paper's
	Latency stats.Latency `json:"latency"`            // from when an event was due
	Failed  string        `json:"failed,omitempty"`

	histogram stats.Histogram
	decider   flow.Decider
	wrong     int // answers that are none, or deny
	example   string
}

// StateResult is what [State] measured.
type StateResult struct {
	Machine bench.Machine `json:"machine"`
	RTT     time.Duration `json:"far_rtt"`
	Rate    float64       `json:"events_per_s"`
	Rows    []*StateRow   `json:"rows"`
	figures.List

	emulated string
}

// stateScale is how much is measured.
type stateScale struct {
	rounds, events int // of each row
	decisions      int // of the closed loop
}

// stateSpeed is how many times faster than the hour the stream's events come: 194 a second.
const stateSpeed = 20

// The ways to ask a function.
const (
	wayNative   = "native"
	wayEmbedded = "embedded"
	wayHTTPS    = "https"
	wayFar      = "far"

	kindMachine    = "machine"
	kindRoundTrips = "round_trips"
)

// stateGoal is for the time with states in memory to that without any; the paper's own is 8.6.
const stateGoal = 1.2

// State measures policies of 500 entries over the organisation's stream, open loop and with nothing installed: each event is a new flow's first
// packet, which a machine's state is read and swapped for.
func State(ctx context.Context, cfg StateConfig) (*StateResult, error) {
	scale := stateScale{rounds: 3, events: 350, decisions: 20_000}
	if cfg.Quick {
		scale = stateScale{rounds: 1, events: 150, decisions: 4_000}
	}
	if cfg.smoke {
		scale = stateScale{rounds: 1, events: 20, decisions: 256}
	}
	if cfg.Stores == nil {
		cfg.Stores = []string{travelling, "memory", "bbolt", "redis", dynamoDB, "nats"}
	}
	s := &stateLab{cfg: &cfg, scale: scale, res: &StateResult{Machine: bench.ThisMachine(), RTT: 2 * farAway.Delay}}
	defer s.close()
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("bench state: %w", err)
	}
	return s.res, nil
}

// Stores that are more than a URL.
const (
	travelling = "travelling"
	dynamoDB   = "dynamodb"
)

// farAway is the distance at which policies are measured, as the paper's platforms are.
var farAway = Location{Delay: 7 * time.Millisecond, Jitter: time.Millisecond / 2}

// keptIn is a store that rows are measured with.
type keptIn struct {
	name string
	url  func() string                   // a store of its own for each row, where it belongs to one process
	bare func(ctx context.Context) error // one round trip of a bare client; nil: the store is in the process

	travels bool // the gateway keeps the states, and each goes with its events
}

type stateLab struct {
	cfg    *StateConfig
	scale  stateScale
	res    *StateResult
	dir    string
	events []timed
	stores []keptIn
	stops  []func()
}

// timed is an event of the stream.
type timed struct {
	n  int
	at time.Duration
	pi *flow.PacketIn
}

func (s *stateLab) step(format string, args ...any) {
	if s.cfg.OnStep != nil {
		s.cfg.OnStep(fmt.Sprintf(format, args...))
	}
}

func (s *stateLab) close() {
	for i := len(s.stops) - 1; i >= 0; i-- {
		s.stops[i]()
	}
}

func (s *stateLab) stop(f func()) { s.stops = append(s.stops, f) }

func (s *stateLab) run(ctx context.Context) (err error) {
	if s.dir, err = os.MkdirTemp("", "switchbridge-state-"); err != nil {
		return err
	}
	s.stop(func() { os.RemoveAll(s.dir) })
	if err := s.stream(ctx); err != nil {
		return err
	}
	if err := s.startStores(ctx); err != nil {
		return err
	}
	s.step("starting functions")
	if err := s.rows(ctx); err != nil {
		return err
	}
	const part = 50 // events
	done, of := 0, s.scale.rounds*len(s.res.Rows)*((len(s.events)+part-1)/part)
	for round := range s.scale.rounds {
		s.step("round %d of %d, %d ways", round+1, s.scale.rounds, len(s.res.Rows))
		if round == 0 { // connections are dialled, states are made, code is read
			for _, r := range s.res.Rows {
				r.play(ctx, s.events[:min(20, len(s.events))], "warm", nil)
			}
		}
		for some := range slices.Chunk(s.events, part) { // what else the machine does meets all
			for _, r := range s.res.Rows {
				r.play(ctx, some, fmt.Sprint(round), func(*flow.PacketIn) *stats.Histogram { return &r.histogram })
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if done++; s.cfg.OnDone != nil {
					s.cfg.OnDone(done, of)
				}
			}
		}
	}
	for _, r := range s.res.Rows {
		r.Latency = r.histogram.Latency()
	}
	s.report()
	if err := s.pristine(ctx); err != nil {
		return err
	}
	return s.apart(ctx)
}

// stream takes the first events of the organisation's hour.
func (s *stateLab) stream(ctx context.Context) error {
	p, err := replay.ProfileNamed("organisation")
	if err != nil {
		return err
	}
	p.Flows, p.Duration = p.Flows/20, p.Duration/20
	var b bytes.Buffer
	if _, err := replay.Generate(&b, nil, replay.GenerateConfig{Profile: p, Seed: 1}); err != nil {
		return err
	}
	var begin starts
	_, err = replay.Run(ctx, replay.Config{
		Files: []string{"-"}, Stdin: &b, Pace: replay.PaceMax, Limit: int64(s.scale.events), Records: &begin,
		Decider: flow.DeciderFunc(func(_ context.Context, ev *flow.Event, _ *flow.Decision) error {
			pi := *ev.PacketIn
			pi.Data = bytes.Clone(pi.Data)
			s.events = append(s.events, timed{n: len(s.events), pi: &pi})
			return nil
		}),
	})
	if err != nil {
		return err
	}
	for i := range s.events {
		s.events[i].at = begin.at[i].Sub(begin.at[0]) / stateSpeed
	}
	s.res.Rate = float64(len(s.events)) / s.events[len(s.events)-1].at.Seconds()
	return nil
}

// startStores starts the stores that are programs.
func (s *stateLab) startStores(ctx context.Context) error {
	files := 0
	for _, name := range s.cfg.Stores {
		k := keptIn{name: name}
		switch name {
		case travelling:
			raw := make([]byte, travel.KeySize)
			_, _ = rand.Read(raw)
			s.setenv(travel.EnvKeys, base64.StdEncoding.EncodeToString(raw)) // of functions that are started, too
			k.url, k.travels = func() string { return travel.URL }, true
		case dynamoDB:
			url, trip, err := s.startDynamoDB(ctx)
			if errors.Is(err, dynamolocal.ErrMissing) {
				s.step("%v", err)
				continue
			}
			if err != nil {
				return err
			}
			k.url, k.bare = func() string { return url }, trip
		case "memory":
			k.url = func() string { return "memory:" }
		case "bbolt":
			k.url = func() string { files++; return "bbolt:" + filepath.Join(s.dir, fmt.Sprintf("%d.db", files)) }
		case "redis", "nats":
			peer, bare := bench.Peer{Name: name}, bareRedis
			if name == "nats" {
				peer.Command, bare = []string{"{bench}", "nats-server", "--listen", "127.0.0.1:{port}", "--dir", "{dir}"}, bareNATS
			} else {
				peer.Command = []string{"redis-server", "--port", "{port}", "--bind", "127.0.0.1", "--dir", "{dir}", "--save", "", "--appendonly", "yes"}
			}
			proc, err := peer.Launch(ctx, connects)
			if errors.Is(err, bench.ErrNotInstalled) {
				s.step("%v", err)
				continue
			}
			if err != nil {
				return err
			}
			s.stop(proc.Close)
			trip, stop, err := bare(proc.Addr)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			s.stop(stop)
			k.url, k.bare = func() string { return name + "://" + proc.Addr }, trip
		default:
			other, url, ok := strings.Cut(name, "=")
			if !ok {
				return fmt.Errorf("store %q: want travelling, memory, bbolt, redis, nats, dynamodb, or NAME=URL", name)
			}
			k.name, k.url = other, func() string { return url }
		}
		s.stores = append(s.stores, k)
	}
	if len(s.stores) == 0 {
		return errors.New("no store is there to measure with")
	}
	return nil
}

// setenv sets a variable of the environment until the end.
func (s *stateLab) setenv(name, value string) {
	before, was := os.LookupEnv(name)
	_ = os.Setenv(name, value)
	s.stop(func() {
		if was {
			_ = os.Setenv(name, before)
		} else {
			_ = os.Unsetenv(name)
		}
	})
}

// startDynamoDB starts DynamoDB Local, and returns the URL of a table and a bare client's round trips.
func (s *stateLab) startDynamoDB(ctx context.Context) (string, func(context.Context) error, error) {
	jars := cmp.Or(os.Getenv("DYNAMODB_LOCAL"), filepath.Join("build", "dynamodb"))
	server, err := dynamolocal.Start(ctx, jars, "") // on a disk a round trip takes it tens of milliseconds, which says nothing about DynamoDB
	if err != nil {
		return "", nil, err
	}
	s.stop(server.Close)
	const table, key = "states", "k"
	if err := server.CreateTable(ctx, table, key); err != nil {
		return "", nil, fmt.Errorf("%s: %w", dynamoDB, err)
	}
	for name, value := range map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": server.Endpoint(), "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"} {
		s.setenv(name, value)
	}
	client, name := server.Client(), aws.String(table)
	at := map[string]types.AttributeValue{key: &types.AttributeValueMemberS{Value: "bare"}}
	item := map[string]types.AttributeValue{key: at[key], "d": &types.AttributeValueMemberB{Value: bareValue}}
	trip := inTurn(func(ctx context.Context) error {
		_, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: item})
		return err
	}, func(ctx context.Context) error {
		_, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: name, Key: at, ConsistentRead: aws.Bool(true)})
		return err
	})
	return "dynamodb://" + table + "?region=" + dynamolocal.Region, trip, nil
}

func connects(ctx context.Context, p *bench.Process) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.Addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// bareValue is as large as a machine's state.
var bareValue = make([]byte, 64)

// bareRedis makes a client whose round trips are reads and writes in turn.
func bareRedis(addr string) (func(context.Context) error, func(), error) {
	c := redis.NewClient(&redis.Options{Addr: addr})
	write := func(ctx context.Context) error { return c.Set(ctx, "bare", bareValue, 0).Err() }
	return inTurn(write, func(ctx context.Context) error { return c.Get(ctx, "bare").Err() }), func() { c.Close() }, nil
}

func bareNATS(addr string) (func(context.Context) error, func(), error) {
	conn, err := nats.Connect("nats://" + addr)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "bare", Subjects: []string{"bare"}, MaxMsgsPerSubject: 1, AllowDirect: true})
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	write := func(ctx context.Context) error { _, err := js.Publish(ctx, "bare", bareValue); return err }
	return inTurn(write, func(ctx context.Context) error { _, err := stream.GetLastMsgForSubject(ctx, "bare"); return err }), conn.Close, nil
}

// inTurn alternates.
func inTurn(a, b func(context.Context) error) func(context.Context) error {
	var mu sync.Mutex
	reads := true
	return func(ctx context.Context) error {
		mu.Lock()
		reads = !reads
		second := reads
		mu.Unlock()
		if second {
			return b(ctx)
		}
		return a(ctx)
	}
}

// rows makes what is measured side by side.
func (s *stateLab) rows(ctx context.Context) error {
	far := func(f *Function) (flow.Decider, error) {
		u, err := url.Parse(f.URL)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(ctx)
		kernel := bench.NetemMissing() == nil
		addr, wait, err := bench.Distance{Target: u.Host, Delay: farAway.Delay, Jitter: farAway.Jitter}.Far(ctx, kernel)
		if err != nil {
			cancel()
			return nil, err
		}
		s.res.emulated = map[bool]string{true: "by netem", false: "by a relay in this process"}[kernel]
		d, stop, err := f.Open(addr, false)
		if err != nil {
			cancel()
			return nil, err
		}
		s.stop(func() { _ = stop(); cancel(); wait() })
		return d, nil
	}
	for _, kind := range []string{bench.KindBlocklist, bench.KindHeader, kindMachine} {
		text := policyText(kind, awayEntries)
		paper := map[string]float64{bench.KindBlocklist: publishedBlocklist, bench.KindHeader: publishedHeader, kindMachine: publishedStateMachine}[kind]
		kept := s.stores
		if kind != kindMachine {
			kept = []keptIn{{}}
		}
		for _, k := range kept {
			add := func(way string, d flow.Decider) {
				if k.travels {
					d = decider.NewState(d, decider.StateLimits{})
				}
				row := &StateRow{Way: way, Policy: kind, Store: k.name, decider: d}
				if way == wayFar {
					row.Paper = paper
				}
				s.res.Rows = append(s.res.Rows, row)
			}
			for _, way := range []string{wayNative, wayEmbedded} {
				d, err := s.inProcess(ctx, way, text, k)
				if err != nil {
					return fmt.Errorf("%s with %s, %s: %w", kind, k.name, way, err)
				}
				add(way, d)
			}
			if s.cfg.Local == nil {
				continue
			}
			f, d, err := s.function(ctx, text, k)
			if err != nil {
				return fmt.Errorf("%s with %s, over HTTPS: %w", kind, k.name, err)
			}
			add(wayHTTPS, d)
			if d, err = far(f); err != nil {
				return fmt.Errorf("%s with %s, over a distance: %w", kind, k.name, err)
			}
			add(wayFar, d)
		}
	}
	for _, way := range []string{wayNative, wayEmbedded, wayHTTPS, wayFar} {
		header := s.find(way, bench.KindHeader, "")
		for _, k := range s.stores {
			if k.bare == nil || header == nil {
				continue
			}
			s.res.Rows = append(s.res.Rows, &StateRow{Way: way, Policy: kindRoundTrips, Store: k.name,
				decider: flow.DeciderFunc(func(ctx context.Context, ev *flow.Event, d *flow.Decision) error {
					if err := header.decider.Decide(ctx, ev, d); err != nil {
						return err
					}
					return cmp.Or(k.bare(ctx), k.bare(ctx))
				})})
		}
	}
	return nil
}

func (s *stateLab) find(way, policy, store string) *StateRow {
	for _, r := range s.res.Rows {
		if r.Way == way && r.Policy == policy && r.Store == store {
			return r
		}
	}
	return nil
}

// inProcess is a controller in this process, with what reads and swaps its states.
func (s *stateLab) inProcess(ctx context.Context, way, text string, k keptIn) (flow.Decider, error) {
	p, err := policyfile.Parse(strings.NewReader(text), "policy.yaml", ".")
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	var c stores.Controller = controller.New(p)
	if way == wayEmbedded {
		e, err := embedded.New(embedded.Options{Policy: p, CacheDir: embedded.DefaultCacheDir(), Log: log})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		s.stop(func() { cancel(); <-ended })
		select {
		case <-e.Ready():
		case err := <-ended:
			ended <- err
			return nil, err
		}
		c = e
	}
	if k.name == "" {
		return c, nil
	}
	settings := stores.Default()
	if settings.URL = k.url(); k.name == dynamoDB {
		settings.Timeout = 10 * time.Second // a Java program that has just been started: its time is measured, however long it is
	}
	keeper, err := stores.Open(ctx, settings, every.Openers, log)
	if err != nil {
		return nil, err
	}
	s.stop(func() { _ = keeper.Close() })
	kept, err := keeper.Keep("bench", c, stores.OneGateway)
	if err != nil {
		return nil, err
	}
	return kept.Decider(c), nil
}

// function is one over HTTPS.
func (s *stateLab) function(ctx context.Context, text string, k keptIn) (*Function, flow.Decider, error) {
	var args []string
	if k.name != "" {
		args = []string{"--state", k.url()}
	}
	f, stop, err := s.cfg.Local(ctx, text, args...)
	if err != nil {
		return nil, nil, err
	}
	s.stop(stop)
	d, closer, err := f.Open("", false)
	if err != nil {
		return nil, nil, err
	}
	s.stop(func() { _ = closer() })
	return f, d, nil
}

// play asks about the events when they are due, and records how long after that they are answered.
func (r *StateRow) play(ctx context.Context, events []timed, round string, into func(*flow.PacketIn) *stats.Histogram) {
	sw := &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13, Ports: []flow.Port{{No: 1, Name: "p1"}}}
	type due struct {
		*timed
		at time.Time
	}
	var mu sync.Mutex
	ask := func(d due, dec *flow.Decision) {
		dec.Reset()
		ev := flow.Event{Type: flow.EventPacketIn, ID: fmt.Sprintf("%s-%s-%s-%s-%d", r.Way, r.Policy, r.Store, round, d.n), Session: "bench", Time: time.Now(),
			XID: uint32(d.n + 1), Switch: sw, PacketIn: d.pi, Accepts: flow.AcceptsAll}
		err := r.decider.Decide(ctx, &ev, dec)
		took := time.Since(d.at)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && dec.Failure != nil {
			err = dec.Failure
		}
		if err != nil || dec.Verdict == flow.Deny || len(dec.Rules) > 0 {
			if r.wrong++; r.example == "" {
				r.example = fmt.Sprintf("%v, %s, %d rules, %v", dec.Verdict, dec.Reason, len(dec.Rules), err)
			}
			return
		}
		if into != nil {
			into(d.pi).Record(took)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: its timers are exact
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		var all sync.WaitGroup
		queue := make(chan due, len(events))
		local := flow.IsLocal(r.decider)
		if !local {
			for range 64 {
				all.Go(func() {
					var dec flow.Decision
					for d := range queue {
						ask(d, &dec)
					}
				})
			}
		}
		var dec flow.Decision
		begin := time.Now().Add(5 * time.Millisecond)
		for i := range events {
			d := due{&events[i], begin.Add(events[i].at - events[0].at)}
			if until(d.at); ctx.Err() != nil {
				break
			}
			if local {
				ask(d, &dec)
			} else {
				queue <- d
			}
		}
		close(queue)
		all.Wait()
	}()
	<-done
}

// until waits on this thread: in the kernel, and for the last moment not.
func until(at time.Time) {
	const last = 100 * time.Microsecond
	if d := time.Until(at) - last; d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil)
	}
	for time.Now().Before(at) {
	}
}

// report makes figures of the rows.
func (s *stateLab) report() {
	res := s.res
	for _, r := range res.Rows {
		name := "state." + r.Way + "." + r.Policy
		if r.Store != "" {
			name += "." + r.Store
		}
		if r.wrong > 0 {
			res.Failf(name, "%d of %d events were not allowed, or had a rule: %s", r.wrong, s.scale.rounds*len(s.events)+20, r.example)
		}
		if r.Latency.Count == 0 {
			continue
		}
		res.Note(name+".p50_us", micro(r.Latency.P50))
		res.Note(name+".p99_us", micro(r.Latency.P99))
		if r.Policy != kindMachine {
			continue
		}
		header := s.find(r.Way, bench.KindHeader, "")
		if r.Store == "memory" || r.Store == travelling {
			res.AtMost(name+".p50_ratio", float64(r.Latency.P50)/float64(header.Latency.P50), stateGoal)
			res.AtMost(name+".p99_ratio", float64(r.Latency.P99)/float64(header.Latency.P99), stateGoal)
		}
		if trips := s.find(r.Way, kindRoundTrips, r.Store); trips != nil && trips.Latency.Count > 0 {
			res.AtMost(name+".to_header_and_two_round_trips", float64(r.Latency.P50)/float64(trips.Latency.P50), 1)
		}
	}
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// pristine is what states cost an instance beyond what they cost the same controller without one: of each way the difference between a machine
// in memory and rules of headers, in turn.
func (s *stateLab) pristine(ctx context.Context) error {
	s.step("what states cost an instance")
	var h [2][2]stats.Histogram
	var rows [2][2]*StateRow
	for i, way := range []string{wayNative, wayEmbedded} {
		rows[i] = [2]*StateRow{s.find(way, bench.KindHeader, ""), s.find(way, kindMachine, "memory")}
		if rows[i][1] == nil {
			return nil
		}
	}
	sw := &flow.Switch{DPID: 1, Protocol: flow.OpenFlow13}
	var d flow.Decision
	for n := 0; n < s.scale.decisions; n += 64 {
		for i := range rows {
			for j, r := range rows[i] {
				for k := n; k < n+64; k++ {
					d.Reset()
					ev := flow.Event{Type: flow.EventPacketIn, ID: fmt.Sprintf("loop-%d", k), Time: time.Now(), XID: 1, Switch: sw, PacketIn: s.events[k%len(s.events)].pi, Accepts: flow.AcceptsAll}
					begin := time.Now()
					err := r.decider.Decide(ctx, &ev, &d)
					h[i][j].Record(time.Since(begin))
					if err != nil {
						return err
					}
				}
			}
		}
	}
	extra := func(i int) float64 { return micro(h[i][1].Quantile(0.5) - h[i][0].Quantile(0.5)) }
	s.res.Note("state.native_extra_us", extra(0))
	s.res.AtMost("state.pristine_extra_us", extra(1)-extra(0), 1)
	return nil
}

// apart measures the paper's advice: policies with state and without it in one function, and in two by route. UDP has states.
func (s *stateLab) apart(ctx context.Context) error {
	kept := s.stores[len(s.stores)-1]
	if s.cfg.Local == nil || kept.travels {
		return nil
	}
	s.step("policies with state and without it, in one function and in two; states in %s", kept.name)
	rules := func(kinds ...string) string {
		var b strings.Builder
		b.WriteString("serial: 1\ninstall: none\nchain:\n")
		for _, kind := range kinds {
			b.WriteString(entries(kind, awayEntries, "for: {ip_proto: udp}, "))
		}
		return b.String() + "  - forward: {mode: normal}\n"
	}
	_, together, err := s.function(ctx, rules(kindMachine, bench.KindHeader), kept)
	if err != nil {
		return err
	}
	_, stateful, err := s.function(ctx, rules(kindMachine), kept)
	if err != nil {
		return err
	}
	_, stateless, err := s.function(ctx, rules(bench.KindHeader), keptIn{})
	if err != nil {
		return err
	}
	apart := decider.NewRoutes([]decider.Route{{Name: "stateful", IPProtos: []uint8{flow.ProtoUDP}, Decider: stateful}}, stateless)
	rows := []*StateRow{{Way: wayHTTPS, Policy: "together", decider: together}, {Way: wayHTTPS, Policy: "apart", decider: apart}}
	var h [2][2]stats.Histogram
	for round := range s.scale.rounds {
		for i, r := range rows {
			if round == 0 {
				r.play(ctx, s.events[:min(20, len(s.events))], "warm", nil)
			}
			r.play(ctx, s.events, fmt.Sprint(round), func(pi *flow.PacketIn) *stats.Histogram {
				if pi.Match.IPProto == flow.ProtoUDP {
					return &h[i][1]
				}
				return &h[i][0]
			})
		}
	}
	for i, r := range rows {
		if r.wrong > 0 {
			s.res.Failf("state."+r.Policy, "%d events were not allowed: %s", r.wrong, r.example)
		}
		for j, which := range []string{"stateless", "stateful"} {
			l := h[i][j].Latency()
			s.res.Note("state."+r.Policy+"."+which+"_p50_us", micro(l.P50))
			s.res.Note("state."+r.Policy+"."+which+"_p99_us", micro(l.P99))
		}
	}
	header := s.find(wayHTTPS, bench.KindHeader, "").Latency
	s.res.AtMost("state.apart.stateless_p50_ratio", float64(h[1][0].Quantile(0.5))/float64(header.P50), stateGoal)
	return nil
}

// WriteText writes a line for each row, and the figures.
func (r *StateResult) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s\n%d events of the organisation's kind a second, policies of %d entries, install: none; far is a round trip of %v (%s)\n", r.Machine, int(r.Rate), awayEntries, r.RTT, r.emulated)
	const line = "%-9s %-12s %-10s %10s %10s %10s %10s %8s\n"
	fmt.Fprintf(w, line, "way", "policy", "store", "p10 µs", "p50 µs", "p90 µs", "p99 µs", "paper ms")
	for _, row := range r.Rows {
		l := row.Latency
		fmt.Fprintf(w, line, row.Way, row.Policy, cmp.Or(row.Store, none), us(l.P10), us(l.P50), us(l.P90), us(l.P99), paperMS(row.Paper))
	}
	return r.List.WriteText(w)
}
