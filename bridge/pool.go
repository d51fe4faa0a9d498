package bridge

import (
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/internal/elapsed"
)

// pool runs remote decisions on at most max goroutines and serves the queues of
// the sessions in turn, so that one switch's storm delays another switch by no
// more than the decisions under way. A single queue never holds more than half
// of the goroutines.
type pool struct {
	max int

	mu      sync.Mutex
	ready   []*queue // queues that have a task and may run it, in turn
	running int
	waiting int
	asked   [2]asked      // the latest two queues in use
	idle    chan struct{} // closed when nothing runs or waits, while draining
}

// queue holds what one session wants decided.
type queue struct {
	limit   int // tasks that may wait
	tasks   []waitingTask
	bytes   int // of their packets
	running int
	listed  bool // in pool.ready
	share   share

	recalled atomic.Int64 // about when an answer was last at hand, by package elapsed
}

// asked is when a queue's switch last had something to say.
type asked struct {
	q  *queue
	at time.Time
}

// waitingTask is a task and how much memory it keeps.
type waitingTask struct {
	run   task
	bytes int
}

// task has something decided, and returns how long the function took for it; 0
// where it gave no answer of its own.
type task func() time.Duration

func newPool(max int) *pool { return &pool{max: max} }

// perQueue is how many goroutines one queue may hold at the most.
func (p *pool) perQueue() int { return max(1, p.max/2) }

// may reports whether q may hold another goroutine.
func (p *pool) may(q *queue) bool { return q.running < min(p.perQueue(), q.share.may()) }

// submit queues a task that keeps so many bytes; false means that the queue is full.
func (p *pool) submit(q *queue, t task, bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !q.fits(bytes) {
		return false
	}
	q.tasks = append(q.tasks, waitingTask{t, bytes})
	q.bytes += bytes
	p.waiting++
	p.used(q, time.Now())
	p.list(q)
	if p.running < p.max && len(p.ready) > 0 {
		p.running++
		go p.work()
	}
	return true
}

// fits reports whether one more task that keeps so many bytes may wait. The
// caller holds the pool's mu.
func (q *queue) fits(bytes int) bool { return len(q.tasks) < q.limit && q.bytes+bytes <= QueueBytes }

// full reports whether submit would refuse a task that keeps so many bytes.
func (p *pool) full(q *queue, bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !q.fits(bytes)
}

// used notes that q is in use. The caller holds mu.
func (p *pool) used(q *queue, now time.Time) {
	if p.asked[0].q != q {
		p.asked[1] = p.asked[0]
	}
	p.asked[0] = asked{q, now}
}

// recalled notes that q's switch was told an answer that was at hand. It has
// something to say, though it hardly ever asks.
func (p *pool) recalled(q *queue, now time.Time) {
	at := elapsed.At(now)
	if at-q.recalled.Load() < int64(turnCalm/8) {
		return
	}
	q.recalled.Store(at)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used(q, now)
}

// others reports whether other queues than q are in use. The caller holds mu.
func (p *pool) others(q *queue, now time.Time) bool {
	for _, a := range p.asked {
		if a.q != nil && a.q != q && now.Sub(a.at) < turnCalm {
			return true
		}
	}
	return false
}

// list puts q in turn if it may run something. The caller holds mu.
func (p *pool) list(q *queue) {
	if !q.listed && len(q.tasks) > 0 && p.may(q) {
		q.listed = true
		p.ready = append(p.ready, q)
	}
}

func (p *pool) work() {
	p.mu.Lock()
	for len(p.ready) > 0 && p.running <= p.max { // it may have been resized
		q := p.ready[0]
		p.ready = p.ready[1:]
		q.listed = false
		next := q.tasks[0]
		q.tasks[0].run = nil
		q.tasks = q.tasks[1:]
		q.bytes -= next.bytes
		p.waiting--
		q.running++
		p.list(q)
		p.mu.Unlock()
		took := next.run()
		p.mu.Lock()
		if took > 0 {
			q.share.observe(took, q.running, len(q.tasks), p.perQueue(), p.others(q, time.Now()))
		}
		q.running--
		p.list(q)
	}
	p.running--
	if p.running == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
	p.mu.Unlock()
}

// pending returns how many of q's tasks wait or run.
func (p *pool) pending(q *queue) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(q.tasks) + q.running
}

// discard drops what q has waiting and returns how much that was.
func (p *pool) discard(q *queue) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(q.tasks)
	q.tasks, q.bytes = nil, 0
	p.waiting -= n
	for i := range p.asked {
		if p.asked[i].q == q {
			p.asked[i] = asked{} // it would keep the session
		}
	}
	for i, r := range p.ready {
		if r == q {
			p.ready = append(p.ready[:i], p.ready[i+1:]...)
			q.listed = false
			break
		}
	}
	return n
}

// drain waits until nothing runs or waits, for at most d, and returns what is left.
func (p *pool) drain(d time.Duration) int {
	p.mu.Lock()
	if p.running == 0 {
		p.mu.Unlock()
		return 0
	}
	if p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running + p.waiting
}

// resize changes how many goroutines there may be. Those beyond end with what
// they have to do.
func (p *pool) resize(max int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.max = max
}

// limit changes how many of q's tasks may wait.
func (p *pool) limit(q *queue, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.limit = n
}
