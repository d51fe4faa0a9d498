package paper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"switchbridge/bench"
	"switchbridge/flow"
	"switchbridge/internal/yamlerr"
)

// Config says what is measured.
type Config struct {
	Dir   string // that the report is written to; it is made where it is missing
	Quick bool   // a smoke run: everything once and short, figures of no weight

	Peers    []bench.Peer // side by side, in this order
	Function *Function    // nil: one that Local starts
	// Local starts a function on this machine that decides by the text of a
	// policy file, with more flags; stop ends it. nil, and no Function: the tables about functions
	// say that none was given.
	Local func(ctx context.Context, policy string, args ...string) (f *Function, stop func(), err error)
	// At opens a function at a URL, for one that was started here on a platform's own server. It wants the bearer token in a file, where that is
	// not empty. nil: such servers are not asked.
	At        func(name, url, tokenFile string) (*Function, error)
	Platforms []Platform // nil: DefaultPlatforms
	Captures  []Capture  // nil: generated ones
	// RealPace, where it is not 0, makes the run one of the captures at their own pace, of so much of each, and of nothing else.
	RealPace  time.Duration
	Cbench    string     // the paper's load generator, beside ours; empty: cbench, on PATH
	Stores    []string   // of states, as StateConfig has them
	Locations []Location // nil: DefaultLocations
	Prices    []Price    // nil: DefaultPrices

	// OnStep, where set, is told what is being measured.
	OnStep func(step string)
}

// Function is a deployed function under test.
type Function struct {
	Name string
	URL  string // https://HOST:PORT/..., or http
	// Open makes a client that asks the function, over the connection's address
	// via where that is not empty, with no retries and no hedges. full is for a
	// client whose handshakes are events of their own.
	Open func(via string, full bool) (d flow.Decider, close func() error, err error)
	// HTTP and Header are for the bare transport; HTTP nil: not measured.
	HTTP   *http.Client
	Header http.Header
	// PID is the function's process, where it runs on this machine, for its
	// CPU time; 0: not measured. It leads a process group.
	PID int
}

// Location is a way from a site to a platform, emulated by a delay.
type Location struct {
	Site     string        // who asks; empty where there is but one
	Platform string        // where the function is
	On       string        // the name of the platform whose own server on this machine it runs on; empty: our own program
	Delay    time.Duration // one way
	Jitter   time.Duration
	Paper    float64 // the paper's milliseconds for the platform, over its sites; 0: none
}

// DefaultLocations are those of configs/locations.yaml: the paper's four sites
// and two platforms, at distances that are assumed around the medians that it
// gives. They are a shape to start from, not measurements of any platform.
func DefaultLocations() []Location {
	const ms = time.Millisecond
	const edge, region = "edge as Fastly", "region as Lambda"
	return []Location{
		{"", "this machine", onOwn, 0, 0, 0},
		{"", "this machine, as Fastly", onFastly, 0, 0, 0},
		{"", "this machine, as Lambda", onLambda, 0, 0, 0},
		{"site 1", edge, onFastly, 5 * ms, ms / 2, publishedFastly},
		{"site 2", edge, onFastly, 7 * ms, ms / 2, publishedFastly},
		{"site 3", edge, onFastly, 8 * ms, ms, publishedFastly},
		{"site 4", edge, onFastly, 12 * ms, ms, publishedFastly},
		{"site 1", region, onLambda, 14 * ms, ms, publishedLambda},
		{"site 2", region, onLambda, 19 * ms, ms, publishedLambda},
		{"site 3", region, onLambda, 22 * ms, 2 * ms, publishedLambda},
		{"site 4", region, onLambda, 30 * ms, 2 * ms, publishedLambda},
		{"site 1", "own server", onOwn, 12 * ms, ms / 2, publishedSelfHosted},
	}
}

// ParseLocations reads a file of locations:
//
//	locations:
//	  - {site: Frankfurt, platform: edge, on: fastly, delay: 8ms, jitter: 1ms, paper_ms: 15.8}
//
// Those of one platform follow one another, and are on the same server.
func ParseLocations(r io.Reader) ([]Location, error) {
	var file struct {
		Locations []struct {
			Site, Platform, On string
			Delay, Jitter      time.Duration
			Paper              float64 `yaml:"paper_ms"`
		}
	}
	if _, err := yamlerr.Load(r, "locations", &file); err != nil {
		return nil, err
	}
	var list []Location
	for i, f := range file.Locations {
		where := fmt.Sprintf("locations: entry %d (%q to %q)", i+1, f.Site, f.Platform)
		if f.Platform == "" || f.Delay < 0 || f.Jitter < 0 || f.Jitter > f.Delay || f.Delay > 10*time.Second || f.Paper < 0 {
			return nil, fmt.Errorf("%s: want a platform, a delay of 0 to 10s and a jitter no larger", where)
		}
		if f.On != onOwn && f.On != onFastly && f.On != onLambda {
			return nil, fmt.Errorf("%s: on %q: want fastly or lambda, or nothing for our own program", where, f.On)
		}
		l := Location{f.Site, f.Platform, f.On, f.Delay, f.Jitter, f.Paper}
		for j, o := range list {
			if o.Platform == l.Platform && (o.Site == l.Site || o.On != l.On || list[i-1].Platform != l.Platform) {
				return nil, fmt.Errorf("%s: want sites of different names, and those of a platform in a row and on the same server (see entry %d)", where, j+1)
			}
		}
		list = append(list, l)
	}
	return list, nil
}

// Price is what a platform asks.
type Price struct {
	Name            string
	Date            string  // when somebody looked
	PerMonth        float64 // whatever is asked
	Included        float64 // millions of invocations in that
	PerMillion      float64 // for a million invocations
	PerGBSecond     float64 // for each GB of MemoryMB and second of run time
	MemoryMB        float64
	MinMilliseconds float64 // that an invocation is charged at least
	Currency        string
}

// DefaultPrices are those of configs/prices.yaml, to be replaced by a file of one's own: two functions, and a small machine that is always on.
func DefaultPrices() []Price {
	const seen = "2026-12"
	return []Price{
		{Name: "lambda", Date: seen, PerMillion: 0.20, PerGBSecond: 0.0000166667, MemoryMB: 128, MinMilliseconds: 1, Currency: "USD"},
		{Name: "workers", Date: seen, PerMonth: 5, Included: 10, PerMillion: 0.30, PerGBSecond: 0.00002, MemoryMB: 1024, MinMilliseconds: 9, Currency: "USD"},
		{Name: "machine", Date: seen, PerMonth: 6.6, Currency: "USD"},
	}
}

// ParsePrices reads a file of prices:
//
//	prices:
//	  - {name: mine, date: 2026-12, per_month: 5, included_millions: 10, per_million: 0.2, per_gb_second: 0.0000166667, memory_mb: 128, min_ms: 1, currency: USD}
func ParsePrices(r io.Reader) ([]Price, error) {
	var file struct {
		Prices []struct {
			Name, Date  string
			PerMonth    float64 `yaml:"per_month"`
			Included    float64 `yaml:"included_millions"`
			PerMillion  float64 `yaml:"per_million"`
			PerGBSecond float64 `yaml:"per_gb_second"`
			MemoryMB    float64 `yaml:"memory_mb"`
			MinMS       float64 `yaml:"min_ms"`
			Currency    string
		}
	}
	if _, err := yamlerr.Load(r, "prices", &file); err != nil {
		return nil, err
	}
	var list []Price
	for i, f := range file.Prices {
		if f.Name == "" || min(f.PerMonth, f.Included, f.PerMillion, f.PerGBSecond, f.MemoryMB, f.MinMS) < 0 {
			return nil, fmt.Errorf("prices: entry %d (%q): want a name and nothing negative", i+1, f.Name)
		}
		list = append(list, Price{f.Name, f.Date, f.PerMonth, f.Included, f.PerMillion, f.PerGBSecond, f.MemoryMB, f.MinMS, cmp.Or(f.Currency, "USD")})
	}
	return list, nil
}

// Month is what a month with so many invocations costs.
func (p *Price) Month(calls float64, run time.Duration) float64 {
	return p.PerMonth + max(0, calls-1e6*p.Included)*p.Per1000(run)/1000
}

// Hour is what an hour with so many invocations costs, where all hours of a month of 30 days are like it, and the GB-seconds that they take.
func (p *Price) Hour(calls float64, run time.Duration) (price, gbSeconds float64) {
	const hours = 24 * 30
	return p.Month(calls*hours, run) / hours, calls * p.charged(run) / 1000 * p.MemoryMB / 1024
}

// charged is the milliseconds of run time that an invocation is charged.
func (p *Price) charged(run time.Duration) float64 {
	return max(p.MinMilliseconds, float64(run)/float64(time.Millisecond))
}

// Per1000 is what 1,000 invocations of the given run time cost beyond what is included.
func (p *Price) Per1000(run time.Duration) float64 {
	return p.PerMillion/1000 + 1000*p.PerGBSecond*(p.MemoryMB/1024)*p.charged(run)/1000
}

func (c *Config) defaults() error {
	if c.Dir == "" {
		return errors.New("no folder for the report")
	}
	if c.Locations == nil {
		c.Locations = DefaultLocations()
	}
	if c.Platforms == nil {
		c.Platforms = DefaultPlatforms()
	}
	if c.Captures == nil {
		c.Captures, _ = Captures("")
	}
	if c.RealPace < 0 {
		return fmt.Errorf("real pace for %v: want 0 or more", c.RealPace)
	}
	if c.Prices == nil {
		c.Prices = DefaultPrices()
	}
	for i, p := range c.Peers {
		if len(p.Command) == 0 || slices.ContainsFunc(c.Peers[:i], func(q bench.Peer) bool { return q.Name == p.Name }) {
			return fmt.Errorf("peer %q: want a command, and a name of its own", p.Name)
		}
	}
	return nil
}
