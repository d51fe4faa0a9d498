package paper

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/bench"
	"switchbridge/flow"
)

// Config says what is measured.
type Config struct {
	Dir   string // that the report is written to; it is made where it is missing
	Quick bool   // a smoke run: everything once and short, figures of no weight

	Peers     []bench.Peer // side by side, in this order
	Function  *Function    // nil: the tables about functions say that none was given
	Locations []Location   // nil: DefaultLocations
	Prices    []Price      // nil: DefaultPrices

	// OnStep, where set, is told what is being measured.
	OnStep func(step string)
}

// Function is a deployed function under test.
type Function struct {
	Name string
	URL  string // https://HOST:PORT/..., or http
	// Open makes a client that asks the function at url, which is URL or an
	// address from which a relay leads there, with no retries and no hedges.
	// full is for a client whose handshakes are events of their own.
	Open func(url string, full bool) (d flow.Decider, close func() error, err error)
	// HTTP and Header are for the bare transport; HTTP nil: not measured.
	HTTP   *http.Client
	Header http.Header
	// PID is the function's process, where it runs on this machine, for its
	// CPU time; 0: not measured. It leads a process group.
	PID int
}

// Location is a place from which a function is asked, emulated by a delay.
type Location struct {
	Name   string
	Delay  time.Duration // one way
	Jitter time.Duration
	Paper  float64 // the paper's milliseconds for such a place; 0: none
}

// DefaultLocations have the round trips that the paper's times over a WAN
// suggest; they are a shape to start from, not measurements of any platform.
func DefaultLocations() []Location {
	const ms = time.Millisecond
	return []Location{
		{"this machine", 0, 0, 0},
		{"edge, as Fastly", 7 * ms, ms / 2, publishedFastly},
		{"own server, as self-hosted", 12 * ms, ms / 2, publishedSelfHosted},
		{"region, as Lambda", 20 * ms, ms, publishedLambda},
	}
}

// ParseLocations reads a file of locations:
//
//	locations:
//	  - {name: Frankfurt, delay: 8ms, jitter: 1ms, paper_ms: 15.8}
func ParseLocations(r io.Reader) ([]Location, error) {
	var file struct {
		Locations []struct {
			Name          string
			Delay, Jitter time.Duration
			Paper         float64 `yaml:"paper_ms"`
		}
	}
	if err := strict(r, &file); err != nil {
		return nil, fmt.Errorf("locations: %w", err)
	}
	var list []Location
	for i, f := range file.Locations {
		if f.Name == "" || f.Delay < 0 || f.Jitter < 0 || f.Jitter > f.Delay || f.Delay > 10*time.Second {
			return nil, fmt.Errorf("locations: entry %d (%q): want a name, a delay of 0 to 10s and a jitter no larger", i+1, f.Name)
		}
		list = append(list, Location{f.Name, f.Delay, f.Jitter, f.Paper})
	}
	return list, nil
}

// Price is what a platform asks.
type Price struct {
	Name            string
	PerMillion      float64 // for a million invocations
	PerGBSecond     float64 // for each GB of MemoryMB and second of run time
	MemoryMB        float64
	MinMilliseconds float64 // that an invocation is charged at least
	Currency        string
}

// DefaultPrices are examples to be replaced by a file of one's own: a charge by
// invocation and run time, and one by invocation alone.
func DefaultPrices() []Price {
	return []Price{
		{Name: "example: invocation and GB-second", PerMillion: 0.20, PerGBSecond: 0.0000166667, MemoryMB: 128, MinMilliseconds: 1, Currency: "USD"},
		{Name: "example: invocation only", PerMillion: 0.50, Currency: "USD"},
	}
}

// ParsePrices reads a file of prices:
//
//	prices:
//	  - {name: mine, per_million: 0.2, per_gb_second: 0.0000166667, memory_mb: 128, min_ms: 1, currency: USD}
func ParsePrices(r io.Reader) ([]Price, error) {
	var file struct {
		Prices []struct {
			Name        string
			PerMillion  float64 `yaml:"per_million"`
			PerGBSecond float64 `yaml:"per_gb_second"`
			MemoryMB    float64 `yaml:"memory_mb"`
			MinMS       float64 `yaml:"min_ms"`
			Currency    string
		}
	}
	if err := strict(r, &file); err != nil {
		return nil, fmt.Errorf("prices: %w", err)
	}
	var list []Price
	for i, f := range file.Prices {
		if f.Name == "" || min(f.PerMillion, f.PerGBSecond, f.MemoryMB, f.MinMS) < 0 {
			return nil, fmt.Errorf("prices: entry %d (%q): want a name and nothing negative", i+1, f.Name)
		}
		list = append(list, Price{f.Name, f.PerMillion, f.PerGBSecond, f.MemoryMB, f.MinMS, cmp.Or(f.Currency, "USD")})
	}
	return list, nil
}

// Per1000 is what 1,000 invocations of the given run time cost.
func (p *Price) Per1000(run time.Duration) float64 {
	ms := max(p.MinMilliseconds, float64(run)/float64(time.Millisecond))
	return p.PerMillion/1000 + 1000*p.PerGBSecond*(p.MemoryMB/1024)*ms/1000
}

func strict(r io.Reader, v any) error {
	d := yaml.NewDecoder(r)
	d.KnownFields(true)
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (c *Config) defaults() error {
	if c.Dir == "" {
		return errors.New("no folder for the report")
	}
	if c.Locations == nil {
		c.Locations = DefaultLocations()
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
