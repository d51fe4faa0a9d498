package bridge

import (
	"sync"
	"time"

	"switchbridge/flow"
)

// Bounds of the pause between two times that all switches are brought in line
// with a policy version that a function named.
const (
	resyncPauseMin = 10 * time.Second
	resyncPauseMax = 10 * time.Minute
)

// pacer keeps a function whose policy changes without end from having every
// switch asked about and swept without end. A change after a time of peace
// counts at once, and so does the very first, since a gateway that has just
// started learns the version and does not see it change. As long as changes
// follow, the pause doubles, and it ends when there was none for twice its length.
type pacer struct {
	run   func()
	alarm func(pause time.Duration) // 0: it is over. Called with mu held

	mu      sync.Mutex
	began   bool      // there was a run
	last    time.Time // of the latest run but the first
	pause   time.Duration
	planned *time.Timer // of a run that waits; nil: none does
	over    *time.Timer // ends the alarm
}

// want runs as soon as the pace allows. Those who want it in the meantime share
// one run.
func (p *pacer) want() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	switch since := now.Sub(p.last); {
	case p.planned != nil:
	case !p.began:
		p.began = true
		go p.run()
	case p.last.IsZero() || since >= 2*p.pause:
		p.last, p.pause = now, resyncPauseMin
		go p.run()
	case since >= p.pause:
		p.again(now)
	default:
		p.planned = time.AfterFunc(p.pause-since, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.planned = nil
			p.again(time.Now())
		})
	}
}

// again is a run that follows another too soon. The caller holds mu.
func (p *pacer) again(now time.Time) {
	p.last, p.pause = now, min(2*p.pause, resyncPauseMax)
	p.alarm(p.pause)
	if p.over != nil {
		p.over.Stop()
	}
	p.over = time.AfterFunc(2*p.pause, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.planned == nil && time.Since(p.last) >= 2*p.pause {
			p.alarm(0)
		}
	})
	go p.run()
}

// PolicySeen takes a policy version that a function has named in a policy_check:
// the switches are brought in line with it, at a pace that no function can
// raise. What an operator or an authenticated push says goes by
// [Bridge.PolicyChanged].
func (b *Bridge) PolicySeen(v flow.PolicyVersion) {
	b.faults.Info("policy version", "policy version", "policy", v.String())
	b.pacer.want()
}

// Rollback makes a version of a lower serial, which [Versions.Offered] offers,
// the one that counts, and brings the switches in line with it. It does not wait
// for them.
func (b *Bridge) Rollback(v flow.PolicyVersion) error {
	if err := b.cfg.Versions.Rollback(v); err != nil {
		return err
	}
	b.log.Info("rolled back to a lower policy version", "policy", v.String())
	b.PolicyChanged()
	return nil
}

// storm tells of resyncs that are kept back.
func (b *Bridge) storm(pause time.Duration) {
	b.cfg.Metrics.storm.Set(pause.Seconds())
	if pause > 0 {
		b.log.Warn("the function's policy version changes again and again: its verdicts are used at once, and installed rules are brought in line at this pace",
			"policy", b.cfg.Versions.Latest().String(), "once_in_seconds", pause.Seconds())
	} else {
		b.log.Info("the function's policy version has stopped changing", "policy", b.cfg.Versions.Latest().String())
	}
}

// offer tells of a rollback that an operator may make.
func (b *Bridge) offer(v flow.PolicyVersion, offered bool) {
	if !offered {
		b.cfg.Metrics.offered.Set(0)
		return
	}
	b.cfg.Metrics.offered.Set(1)
	b.log.Warn("the function has answered with an older policy for a minute: its verdicts are used, its rules live 10 s, and no rules are removed. If this is intended, roll back to that policy",
		"policy", v.String())
}
