package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
	"switchbridge/settings"
)

// flood makes records as a session does.
type flood struct {
	ev  flow.Event
	pi  flow.PacketIn
	d   flow.Decision
	rec bridge.Record
}

func newFlood(dpid flow.DPID) *flood {
	f := &flood{}
	f.pi.Match.SetInPort(1)
	f.pi.Match.SetEthType(0x0800)
	f.ev = flow.Event{Type: flow.EventPacketIn, Switch: &flow.Switch{DPID: dpid, Protocol: flow.OpenFlow13}, PacketIn: &f.pi}
	f.d = flow.Decision{Verdict: flow.Allow, Reason: "forward: normal", Rules: make([]flow.Rule, 1)}
	f.rec = bridge.Record{Switch: f.ev.Switch, Event: &f.ev, Decision: &f.d, Decide: time.Microsecond}
	return f
}

func (f *flood) next(r *recorder, v flow.Verdict) {
	f.ev.XID++
	f.ev.Time, f.d.Verdict = time.Now(), v
	f.rec.Total = time.Since(f.ev.Time)
	r.observe(&f.rec)
}

func newTestRecorder(t testing.TB, w io.Writer, reg *prometheus.Registry, change func(*settings.Log)) *recorder {
	t.Helper()
	set := settings.Default().Log
	if change != nil {
		change(&set)
	}
	r, err := newRecorder(slog.New(slog.NewTextHandler(w, nil)), &set, reg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// By default a flood of 64 switches, each with 1,000 decisions a second, makes
// less than 11 kB of log a second; denials have their room, and all is counted.
func TestFloodOfDecisionsLeavesTheLogReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs logbuffer.Buffer
		reg := prometheus.NewRegistry()
		r := newTestRecorder(t, &logs, reg, nil)
		var switches []*flood
		for i := range 64 {
			switches = append(switches, newFlood(flow.DPID(i+1)))
		}
		const seconds = 10
		denied := 0
		for i := range seconds * 1000 {
			for _, s := range switches {
				s.next(r, flow.Allow)
			}
			if i%100 == 99 { // late in each second, when allows have had all that they may
				switches[i/100%64].next(r, flow.Deny)
				denied++
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		text := logs.String()
		if n := len(text) / seconds; n > 11_000 {
			t.Errorf("%d bytes a second", n)
		}
		if n := strings.Count(text, "verdict=deny"); n != denied {
			t.Errorf("%d of %d denials are in the log", n, denied)
		}
		logged := strings.Count(text, "msg=decision ")
		left := 0
		for line := range strings.Lines(text) {
			var n int
			if _, after, ok := strings.Cut(line, "msg=\"decisions without a record here: more than log.decisions_rate\" allow="); ok {
				fmt.Sscan(after, &n)
				left += n
			}
		}
		if all := seconds*1000*64 + denied; logged+left != all {
			t.Errorf("%d records and %d counted as left out, of %d decisions", logged, left, all)
		}
		if got := r.stats(reg); got.Allow != seconds*1000*64 || int(got.Deny) != denied {
			t.Errorf("metrics count %+v", got)
		}
	})
}

// What the policy wants in the log is there whatever else is, within the same rates: a flood of it has no more lines, and takes no switch's
// records from the others.
func TestPolicyLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []string{"off", "deny", "all"} {
			var logs logbuffer.Buffer
			file := filepath.Join(t.TempDir(), "records")
			r := newTestRecorder(t, &logs, prometheus.NewRegistry(), func(l *settings.Log) { l.Decisions, l.Records, l.RecordsSize, l.RecordsKeep = mode, file, 100, 1 })
			if err := r.file.start(); err != nil {
				t.Fatal(err)
			}
			f, other := newFlood(1), newFlood(2)
			f.next(r, flow.Allow)
			f.d.Log, f.d.Reason = true, "header: watched"
			f.next(r, flow.Allow)
			f.next(r, flow.Deny)
			if n := strings.Count(logs.String(), "log=true"); n != 2 || strings.Contains(logs.String(), "forward: normal") != (mode == "all") {
				t.Errorf("%s: the log is\n%s", mode, logs.String())
			}
			const seconds = 10
			for range seconds * 1000 {
				f.next(r, flow.Allow)
				time.Sleep(time.Millisecond)
			}
			other.d.Log = true
			other.next(r, flow.Allow)
			if n := strings.Count(logs.String(), "log=true"); n > 20*(seconds+2) {
				t.Errorf("%s: %d lines in %d seconds", mode, n, seconds)
			}
			if !strings.Contains(logs.String(), "dpid=0000000000000002") {
				t.Errorf("%s: another switch's decision has no place", mode)
			}
			r.file.close()
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if first := strings.SplitN(string(body), "\n", 3); strings.Contains(first[0], `"log"`) || !strings.Contains(first[1], `"log":true`) {
				t.Errorf("%s: the records are %s", mode, first[:2])
			}
		}
	})
}

// However long what is decided about and the function's reasons are, the records
// take no more of the log.
func TestLongRecordsLeaveTheLogReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs logbuffer.Buffer
		r := newTestRecorder(t, &logs, prometheus.NewRegistry(), nil)
		const seconds, switches = 60, 64
		for i := range seconds * 10 {
			for j := range switches {
				f := newFlood(flow.DPID(j + 1))
				f.ev.XID = uint32(i)
				f.d.Reason = strings.Repeat("because ", 100)
				f.next(r, flow.Deny)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(logs.String()); n > 900_000 || n < 400_000 {
			t.Errorf("%d bytes of log in a minute", n)
		}
	})
}

// One switch's flood leaves another its records.
func TestFloodOfOneSwitchLeavesOthersTheirRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logs logbuffer.Buffer
		r := newTestRecorder(t, &logs, prometheus.NewRegistry(), nil)
		loud, quiet := newFlood(1), newFlood(2)
		for range 10_000 {
			loud.next(r, flow.Allow)
		}
		for range 5 {
			quiet.next(r, flow.Allow)
		}
		synctest.Wait()
		if n := strings.Count(logs.String(), "dpid=0000000000000002"); n != 5 {
			t.Errorf("%d of 5 records of the other switch", n)
		}
		if n := strings.Count(logs.String(), "dpid=0000000000000001"); n != 15 {
			t.Errorf("%d records of the loud one, want three quarters of 20", n)
		}
	})
}

// A clock that is set back leaves room for decisions: what was spent of a second to come says nothing about now. One that ended late does not.
func TestClockSetBack(t *testing.T) {
	var cell atomic.Uint64
	const start, limit = 1_800_000_000, 20
	take := func(second uint32) (n int) {
		for range 2 * limit {
			if spend(&cell, second, 1, limit, true) {
				n++
			}
		}
		return n
	}
	for i, step := range []struct {
		second uint32
		want   int
	}{{start, limit}, {start, 0}, {start - 5, 0}, {start + 1, limit}, {start - 3600, limit}, {start - 3600, 0}, {start - 3599, limit}, {start, limit}} {
		if n := take(step.second); n != step.want {
			t.Errorf("step %d: %d, want %d", i+1, n, step.want)
		}
	}
}

// The file has every decision, in files of the size that is configured, and
// what a disk does not follow is shed and counted.
func TestRecordsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.json")
	reg := prometheus.NewRegistry()
	configure := func(l *settings.Log) { l.Decisions, l.Records, l.RecordsSize, l.RecordsKeep = "off", path, 1, 8 }
	r := newTestRecorder(t, io.Discard, reg, configure)
	s := newFlood(7)
	const extra = 1000
	for range recordsWaiting + extra { // nobody writes yet
		s.next(r, flow.Deny)
	}
	outcome := func(name string) float64 {
		families, _ := reg.Gather()
		for _, f := range families {
			if f.GetName() != "switchbridge_records_total" {
				continue
			}
			for _, m := range f.GetMetric() {
				if label(m, "outcome") == name {
					return m.GetCounter().GetValue()
				}
			}
		}
		return -1
	}
	if n := outcome("shed"); n != extra {
		t.Errorf("%v records shed, want %d", n, extra)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a file before the gateway runs")
	}
	if err := r.file.start(); err != nil {
		t.Fatal(err)
	}
	const more = 20_000
	for range more {
		for len(r.file.waiting) == recordsWaiting {
			time.Sleep(time.Millisecond) // for the disk, of which this test says nothing
		}
		s.next(r, flow.Allow)
	}
	r.file.close()
	r.file.close()
	if n := outcome("written"); n != recordsWaiting+more {
		t.Errorf("%v records written, want %d", n, recordsWaiting+more)
	}
	lines, next := 0, uint64(1)
	for i := 8; i >= 0; i-- {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if info, _ := f.Stat(); info.Size() > 1<<20 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		for scan := bufio.NewScanner(f); scan.Scan(); lines++ {
			var rec struct {
				DPID, Verdict, Reason, Match, Event string
				Decision                            uint64
				Time                                time.Time
			}
			if err := json.Unmarshal(scan.Bytes(), &rec); err != nil {
				t.Fatalf("%s: %v", scan.Text(), err)
			}
			if rec.DPID != "0000000000000007" || rec.Reason != "forward: normal" || rec.Match == "" || rec.Time.IsZero() {
				t.Fatalf("record %s", scan.Text())
			}
			if rec.Decision != next && rec.Decision != next+extra {
				t.Fatalf("record of decision %d after %d", rec.Decision, next-1)
			}
			next = rec.Decision + 1
		}
		f.Close()
	}
	if lines != recordsWaiting+more {
		t.Errorf("%d lines in the files, want %d", lines, recordsWaiting+more)
	}
	if _, err := os.Stat(path + ".2"); err != nil {
		t.Errorf("the file was not rotated: %v", err)
	}
	set := settings.Default().Log
	set.Records = filepath.Join(t.TempDir(), "nowhere", "x")
	if _, err := newRecorder(slog.New(slog.DiscardHandler), &set, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), "log.records") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// BenchmarkRecorder is a decision's way through the recorder, at a flood's pace.
func BenchmarkRecorder(b *testing.B) {
	for _, row := range []struct {
		name   string
		change func(*settings.Log)
	}{
		{"off", func(l *settings.Log) { l.Decisions = "off" }},
		{"default", nil},
		{"every one", func(l *settings.Log) { l.DecisionsRate = 0 }},
		{"file", func(l *settings.Log) { l.Records = filepath.Join(b.TempDir(), "records") }},
	} {
		b.Run(row.name, func(b *testing.B) {
			r := newTestRecorder(b, io.Discard, prometheus.NewRegistry(), row.change)
			if err := r.file.start(); err != nil {
				b.Fatal(err)
			}
			defer r.file.close()
			b.RunParallel(func(pb *testing.PB) {
				s := newFlood(flow.DPID(time.Now().UnixNano()))
				for pb.Next() {
					s.next(r, flow.Allow)
				}
			})
		})
	}
}
