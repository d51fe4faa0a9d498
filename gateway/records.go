package gateway

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"switchbridge/bridge"
	"switchbridge/flow"
	"switchbridge/internal/rotate"
	"switchbridge/settings"
)

// logLimit bounds the decisions in the log: a number of records a second for each switch,
// overall times as many for all switches, and recordBytes bytes on average for each record. Allows may
// take three quarters of each bound, so that denies and failures still have room. One line
// a second says how many were left out. logLimit takes no lock, since every decision
// passes it.
type logLimit struct {
	log       *slog.Logger
	perSwitch uint32 // 0: no bound

	all      atomic.Uint64
	bytes    atomic.Uint64
	bySwitch [256]atomic.Uint64 // by a hash of the DPID: switches may share one

	total   atomic.Uint64
	left    [4]atomic.Uint64 // since the latest line, by verdict; the last: failures
	planned atomic.Bool      // of that line
}

const (
	// overall is how many switches' records there may be together.
	overall = 2
	// recordBytes is what each of them may take: a reason or a match may be long.
	recordBytes = 256
)

// classOf returns which of the counts of what is left out a record is of, and
// whether it goes before others.
func classOf(rec *bridge.Record, failure error) (class int, first bool) {
	if failure != nil {
		return 3, true
	}
	return int(rec.Decision.Verdict) % 3, rec.Decision.Verdict == flow.Deny || rec.Decision.Log
}

// take reports whether a record may be logged, and counts it otherwise.
func (l *logLimit) take(rec *bridge.Record, failure error) bool {
	if l.perSwitch == 0 {
		return true
	}
	class, first := classOf(rec, failure)
	second := uint32(rec.Event.Time.Add(rec.Total).Unix())
	hash := uint64(rec.Switch.DPID) * 0x9e3779b97f4a7c15
	if spend(&l.bySwitch[hash>>56], second, 1, l.perSwitch, first) && spend(&l.all, second, 1, overall*l.perSwitch, first) {
		return true
	}
	l.leave(class)
	return false
}

// fits is take for how long the record's line is.
func (l *logLimit) fits(rec *bridge.Record, failure error, bytes int) bool {
	if l.perSwitch == 0 {
		return true
	}
	class, first := classOf(rec, failure)
	second := uint32(rec.Event.Time.Add(rec.Total).Unix())
	if spend(&l.bytes, second, uint32(bytes), overall*recordBytes*l.perSwitch, first) {
		return true
	}
	l.leave(class)
	return false
}

// leave counts a record that is left out.
func (l *logLimit) leave(class int) {
	l.total.Add(1)
	l.left[class].Add(1)
	if !l.planned.Load() && !l.planned.Swap(true) {
		time.AfterFunc(time.Second, l.sum)
	}
}

// farBack is by how many seconds a decision may be of an earlier second than the one before, which one that took long is. Beyond them the clock was set back.
const farBack = 60

// spend takes n of what there is for a second from a cell, which holds the second
// and how much of it is spent. The last to be given may be more than is left.
func spend(cell *atomic.Uint64, second, n, limit uint32, first bool) bool {
	if !first {
		limit -= limit / 4
	}
	for {
		old := cell.Load()
		now := old
		if ahead := int32(second - uint32(old>>32)); ahead > 0 || ahead < -farBack {
			now = uint64(second) << 32
		}
		if uint32(now) >= limit {
			return false
		}
		if cell.CompareAndSwap(old, now+uint64(n)) {
			return true
		}
	}
}

// sum logs how many records were left out.
func (l *logLimit) sum() {
	l.planned.Store(false)
	l.log.Info("decisions without a record here: more than log.decisions_rate", "allow", l.left[flow.Allow].Swap(0),
		"deny", l.left[flow.Deny].Swap(0), "none", l.left[flow.NoVerdict].Swap(0), "failed", l.left[3].Swap(0))
}

// Bounds of a file of records.
const (
	recordsWaiting = 4096     // that wait for the disk; more are shed and counted
	recordsChunk   = 64 << 10 // bytes that are written at once
)

// recordFile writes the records of all decisions to a file, one JSON line each,
// in the order of the decisions. Sessions never wait for the disk: if it is too slow,
// records are dropped and counted.
type recordFile struct {
	waiting chan decision
	stop    chan struct{}
	done    chan struct{} // closed when run has returned; nil: it does not run
	out     *rotate.File
	set     *settings.Log
	log     *slog.Logger

	written, shed, failed prometheus.Counter
}

// newRecordFile is for the file that the settings name; nil where they name none.
// It makes no file yet: a gateway that is only checked may be another user's.
func newRecordFile(set *settings.Log, log *slog.Logger, reg prometheus.Registerer) (*recordFile, error) {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "switchbridge_records_total",
		Help: "Records of decisions for log.records: written, shed because the disk did not follow, failed."}, []string{"outcome"})
	reg.MustRegister(records)
	if set.Records == "" {
		return nil, nil
	}
	if info, err := os.Stat(filepath.Dir(set.Records)); err != nil {
		return nil, fmt.Errorf("log.records: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("log.records: %s is not a folder", filepath.Dir(set.Records))
	}
	return &recordFile{set: set, log: log, waiting: make(chan decision, recordsWaiting), stop: make(chan struct{}),
		written: records.WithLabelValues("written"), shed: records.WithLabelValues("shed"), failed: records.WithLabelValues("failed")}, nil
}

// put hands a record over. It never waits.
func (f *recordFile) put(rec *bridge.Record, failure error) {
	if f == nil {
		return
	}
	if len(f.waiting) == cap(f.waiting) {
		f.shed.Inc()
		return
	}
	var d decision
	d.fill(rec, failure)
	f.write(&d)
}

// write is put for a record that is filled already.
func (f *recordFile) write(d *decision) {
	if f == nil {
		return
	}
	select {
	case f.waiting <- *d:
	default:
		f.shed.Inc()
	}
}

// start opens the file and has records written from now on.
func (f *recordFile) start() (err error) {
	if f == nil {
		return nil
	}
	if f.out, err = rotate.Open(f.set.Records, int64(f.set.RecordsSize)<<20, f.set.RecordsKeep); err != nil {
		return fmt.Errorf("log.records: %w", err)
	}
	f.done = make(chan struct{})
	go f.run()
	return nil
}

// close writes what waits and closes the file. Nothing is put afterwards.
func (f *recordFile) close() {
	if f == nil || f.done == nil {
		return
	}
	close(f.stop)
	<-f.done
	f.done = nil
	f.out.Close()
}

func (f *recordFile) run() {
	defer close(f.done)
	var lines bytes.Buffer
	json := slog.NewJSONHandler(&lines, nil)
	n, broken := 0, false
	add := func(d *decision) {
		level := slog.LevelInfo
		if d.failure != "" {
			level = slog.LevelWarn
		}
		r := slog.NewRecord(d.at, level, "decision", 0)
		r.AddAttrs(d.attrs()...)
		_ = json.Handle(context.Background(), r) // to memory
		n++
	}
	flush := func() {
		_, err := f.out.Write(lines.Bytes())
		if err == nil {
			f.written.Add(float64(n))
		} else {
			f.failed.Add(float64(n))
			if !broken {
				f.log.Error("records of decisions can't be written", "err", err)
			}
		}
		broken = err != nil
		lines.Reset()
		n = 0
	}
	for {
		var d decision
		select {
		case d = <-f.waiting:
		default:
			if n > 0 {
				flush()
			}
			select {
			case d = <-f.waiting:
			case <-f.stop:
				select {
				case d = <-f.waiting:
				default:
					return
				}
			}
		}
		if add(&d); lines.Len() >= recordsChunk {
			flush()
		}
	}
}
