package paper

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"switchbridge/bench/stats"
	"switchbridge/replay"
)

// Capture is traffic of one of the paper's kinds of networks.
type Capture struct {
	Network string // the paper's: IoT, residential or organisation
	Name    string
	File    string         // empty: generated
	Profile replay.Profile // what is generated
}

// The paper's networks, by how files of theirs begin and by profiles that generate traffic of their kind.
var networks = []struct{ name, prefix, profile string }{
	{"IoT", "iot-", "iot"}, {"residential", "home-", "home"}, {"organisation", "organisation-", "organisation"},
}

// Captures are those of a folder whose names begin with iot-, home- or organisation-, and a generated one of each network: of IoT devices,
// since captures of theirs need not have MQTT, and of networks that the folder has none of.
func Captures(folder string) (list []Capture, err error) {
	for _, n := range networks {
		files, err := filepath.Glob(filepath.Join(folder, n.prefix+"*.pcap*"))
		if err != nil {
			return nil, err
		}
		if folder == "" {
			files = nil
		}
		for _, file := range files {
			name, _, _ := strings.Cut(filepath.Base(file), ".")
			list = append(list, Capture{Network: n.name, Name: name, File: file})
		}
		if len(files) > 0 && n.profile != "iot" {
			continue
		}
		p, err := replay.ProfileNamed(n.profile)
		if err != nil {
			return nil, err
		}
		list = append(list, Capture{Network: n.name, Name: "generated", Profile: p})
	}
	return list, nil
}

// open has cfg read the capture: its file, or what stands in for one.
func (c *Capture) open(cfg *replay.Config) error {
	if c.File != "" {
		cfg.Files = []string{c.File}
		return nil
	}
	var b bytes.Buffer
	_, err := replay.Generate(&b, nil, replay.GenerateConfig{Profile: c.Profile, Seed: 1})
	cfg.Files, cfg.Stdin = []string{"-"}, &b
	return err
}

// played is a Recorder, and what a capture's replay came to.
type played struct {
	*replay.Summary
	first, last time.Time // of events, by the capture
	mqtt        int64     // events of MQTT, plain and over TLS
}

func (p *played) Record(r *replay.Record) error {
	if p.first.IsZero() {
		p.first = r.Time
	}
	if r.Time.After(p.last) {
		p.last = r.Time
	}
	for _, port := range []uint16{1883, 8883} {
		if r.Match.L4Src == port || r.Match.L4Dst == port {
			p.mqtt++
		}
	}
	return nil
}

func (p *played) Flush() error { return nil }

const trafficTitle = "Tables 9 and 10: events of three networks, "

var trafficHeader = []string{"network", "capture", "lasts, s", "packets", "events", "of them MQTT", "answered", "denied", "events/s", "p10 µs", "p50 µs", "p90 µs", "p99 µs", "stdev µs"}

// row adds what a capture's replay came to.
func (c *Capture) row(s *Section, p *played, l stats.Latency) {
	s.row(c.Network, c.Name, num(p.last.Sub(p.first).Seconds()), fmt.Sprint(p.Packets), fmt.Sprint(p.Events), fmt.Sprint(p.mqtt), fmt.Sprint(p.Answered), fmt.Sprint(p.Denied),
		num(p.PerSecond()), us(l.P10), us(l.P50), us(l.P90), us(l.P99), us(l.Stdev))
}

// traffic plays captures of the paper's kinds of networks at the maximum pace.
func (e *evaluation) traffic(ctx context.Context, h *host) {
	whole := "The captures are whole."
	if e.scale.traffic > 0 {
		whole = fmt.Sprintf("The first %d events of each.", e.scale.traffic)
	}
	s := e.section(trafficTitle+"maximum pace",
		"The first packet of each flow asks "+h.title+", on this machine and without a distance, one event after the other, each as soon as the one before is answered. "+whole,
		trafficHeader...)
	e.missingCaptures(s)
	for i := range e.cfg.Captures {
		c := &e.cfg.Captures[i]
		e.step("%s, %s at the maximum pace", c.Network, c.Name)
		p, err := c.play(ctx, h, replay.Config{Pace: replay.PaceMax, Limit: e.scale.traffic})
		if err != nil {
			s.Missing = append(s.Missing, c.Network+", "+c.Name+": "+reason(err))
			continue
		}
		c.row(s, p, p.Latency)
		e.report.note("events/"+c.Network+", "+c.Name+", maximum pace", "µs", 0, float64(p.Latency.P50)/float64(time.Microsecond))
	}
	if e.cfg.RealPace == 0 {
		s.Missing = append(s.Missing, "the captures' own pace, which takes as long as they do (bench paper --real-pace 10m --out DIR, a run of its own)")
	}
}

// realPace plays the captures at their own pace, all at the same time.
func (e *evaluation) realPace(ctx context.Context) error {
	h, stop, err := e.own(ctx, allowAll)
	if err != nil {
		e.section(trafficTitle+"the captures' own pace", "Not measured: "+reason(err)+".")
		return nil
	}
	defer stop()
	s := e.section(trafficTitle+"the captures' own pace",
		fmt.Sprintf("The first packet of each flow asks %s, on this machine and without a distance, when the capture says, however slow answers are. Each capture is played from its beginning for %v, or to its end. They are played at the same time. "+
			"Times count from when an event was due, and so include the replay's own timer, which is up to 1 ms late.", h.title, e.cfg.RealPace), trafficHeader...)
	e.missingCaptures(s)
	e.step("%d captures at their own pace, for %v", len(e.cfg.Captures), e.cfg.RealPace)
	got, errs := make([]*played, len(e.cfg.Captures)), make([]error, len(e.cfg.Captures))
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			got[i], errs[i] = e.cfg.Captures[i].play(ctx, h, replay.Config{Pace: replay.PaceReal, To: e.cfg.RealPace})
		})
	}
	all.Wait()
	for i, p := range got {
		c := &e.cfg.Captures[i]
		if errs[i] != nil {
			s.Missing = append(s.Missing, c.Network+", "+c.Name+": "+reason(errs[i]))
			continue
		}
		c.row(s, p, p.FromDue)
		e.report.note("events/"+c.Network+", "+c.Name+", own pace", "µs", 0, float64(p.FromDue.P50)/float64(time.Microsecond))
	}
	return nil
}

func (c *Capture) play(ctx context.Context, h *host, cfg replay.Config) (*played, error) {
	if err := c.open(&cfg); err != nil {
		return nil, err
	}
	d, closer, err := h.Open("", false)
	if err != nil {
		return nil, err
	}
	defer closer()
	p := new(played)
	cfg.Decider, cfg.Records = d, p
	p.Summary, err = replay.Run(ctx, cfg)
	return p, err
}

// missingCaptures names the networks of which there is no capture, only a generated set.
func (e *evaluation) missingCaptures(s *Section) {
	var generated, names []string
	for _, n := range networks {
		real := false
		for _, c := range e.cfg.Captures {
			real = real || c.Network == n.name && c.File != ""
		}
		if !real {
			names = append(names, n.name)
		}
	}
	for _, c := range e.cfg.Captures {
		if c.File == "" {
			generated = append(generated, c.Network)
		}
	}
	if len(generated) > 0 {
		s.Emulated = "rows called generated have a network's size, bursts and protocols, not its packets: " + strings.Join(generated, ", ") + "."
	}
	if len(names) > 0 {
		s.Missing = append(s.Missing, "captures of these networks: "+strings.Join(names, ", ")+" (--captures DIR, with files whose names begin with iot-, home- or organisation-)")
	}
}
