package p4bridge

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	p4v1 "github.com/p4lang/p4runtime/go/p4/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"switchbridge/flow"
)

// backgroundRate is what the flow with an entry sends, in packets a second.
const backgroundRate = 500

// BenchmarkDataPlane asks whether BMv2 goes on forwarding while misses flood
// it: a flow that has its entry is sent at a steady rate, alone and beside new
// flows at a rate, and for comparison beside a client that never reads its
// stream. An iteration is a second.
//
// BMv2 takes packets from its interfaces by a ring of some thirty places, so
// what comes in bursts while it isn't scheduled is lost, flood or not: look at
// the difference to rate=0.
func BenchmarkDataPlane(b *testing.B) {
	for _, rate := range []int{0, 1000, 4000, 16000} {
		b.Run(fmt.Sprintf("gateway/misses=%d", rate), func(b *testing.B) {
			r := newReal(b)
			reg := prometheus.NewRegistry()
			cfg := silent(r)
			cfg.Metrics, cfg.Bridge = NewMetrics(reg), bridgeOf(b, local{toPort(2)}, counted(reg))
			serving(b, run(b, cfg, nil))
			r.packet(b, 3, background(0))
			eventually(b, "the flow has its entry", func() bool { return len(entries(b, r, "flow_exact")) == 1 })
			sent := measureDataPlane(b, r, rate)
			if sent > 0 {
				digests := metricSum(b, reg, events, "packet_in") + metricSum(b, reg, drops, "not_read")
				b.ReportMetric(digests/b.Elapsed().Seconds(), "digests/s")
				b.ReportMetric(metricSum(b, reg, "switchbridge_p4_updates_total", "flow_exact", "written")/b.Elapsed().Seconds(), "entries/s")
				b.ReportMetric(metricSum(b, reg, drops, "not_read")/digests*100, "%dropped-by-gateway")
				b.ReportMetric((1-digests/float64(sent))*100, "%misses-lost-in-switch")
			}
		})
	}
	b.Run("nobody-reads/misses=4000", func(b *testing.B) {
		r := newReal(b)
		const window = 1 << 16 // as it is at first; a fixed one does not grow
		deaf := newBare(b, r, 10, grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
		deaf.arbitration(b)
		deaf.push(b)
		match := flow.ParseFrame(background(0), 3).Keep(binding().EventFields)
		rule, _, err := binding().Entry(&flow.Rule{Priority: 100, Match: match, Actions: []flow.Action{flow.OutputTo(2)}}, nil)
		if err != nil {
			b.Fatal(err)
		}
		code, each := deaf.write(deaf.id, tableUpdate(p4v1.Update_INSERT, rule),
			&p4v1.Update{Type: p4v1.Update_INSERT, Entity: &p4v1.Entity{Entity: &p4v1.Entity_DigestEntry{DigestEntry: &p4v1.DigestEntry{
				DigestId: binding().Digest.P4.ID, Config: &p4v1.DigestEntry_Config{MaxListSize: 1}}}}},
			tableUpdate(p4v1.Update_MODIFY, &p4v1.TableEntry{TableId: program().Table("miss").ID, IsDefaultAction: true,
				Action: &p4v1.TableAction{Type: &p4v1.TableAction_Action{Action: &p4v1.Action{ActionId: program().Table("miss").Default("miss_digest").ID}}}}))
		if code != 0 {
			b.Fatal(code, each)
		}
		measureDataPlane(b, r, 4000)
	})
}

// background is packet n of the flow that has an entry.
func background(n uint32) []byte {
	f := udp(3, 4, 1)
	binary.BigEndian.PutUint32(f[42:], n)
	return f
}

// measureDataPlane sends the background flow into port 3, and misses at a rate
// into port 1, and reports what of the flow left by port 2, how late, and the
// longest time in which nothing did. It returns how many misses were sent.
func measureDataPlane(b *testing.B, r *realSwitch, rate int) (misses int) {
	var mu sync.Mutex
	var sentAt []time.Time
	var took []time.Duration
	var last time.Time
	var gap time.Duration
	stop, received := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(received)
		for {
			select {
			case f := <-r.out():
				now := time.Now()
				if f.Port != 2 || len(f.Data) < 46 || string(f.Data[:36]) != string(background(0)[:36]) {
					continue
				}
				mu.Lock()
				if n := int(binary.BigEndian.Uint32(f.Data[42:])); n < len(sentAt) {
					took = append(took, now.Sub(sentAt[n]))
					if !last.IsZero() {
						gap = max(gap, now.Sub(last))
					}
					last = now
				}
				mu.Unlock()
			case <-stop:
				return
			}
		}
	}()
	paced := func(until time.Time, perSecond int, send func()) {
		start := time.Now()
		for n := 0; time.Now().Before(until); n++ {
			for float64(n) >= time.Since(start).Seconds()*float64(perSecond) {
				time.Sleep(200 * time.Microsecond)
			}
			send()
		}
	}
	for b.Loop() {
		until := time.Now().Add(time.Second)
		var senders sync.WaitGroup
		senders.Go(func() {
			paced(until, backgroundRate, func() {
				mu.Lock()
				n := uint32(len(sentAt))
				sentAt = append(sentAt, time.Now())
				mu.Unlock()
				r.packet(b, 3, background(n))
			})
		})
		if rate > 0 {
			senders.Go(func() {
				paced(until, rate, func() {
					misses++
					r.packet(b, 1, udp(byte(10+misses>>16), 2, uint16(misses)))
				})
			})
		}
		senders.Wait()
	}
	time.Sleep(200 * time.Millisecond) // what is on its way
	close(stop)
	<-received
	b.ReportMetric(float64(len(took))/float64(len(sentAt))*100, "%forwarded")
	b.ReportMetric(float64(gap.Milliseconds()), "longest-gap-ms")
	if len(took) > 0 {
		slices.Sort(took)
		quantiles(b, took, "forward")
	}
	return misses
}
