package bridge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/internal/elapsed"
)

// pool runs remote decisions on at most max goroutines and serves the queues of
// the sessions in turn, so that one switch's storm delays another switch by no
// more than the decisions under way. A single queue never holds more than half
// of the goroutines. Within a queue the lanes are served in turn, so that what one port
// sends delays another port by no more either.
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
	waiting int
	bytes   int              // of their packets
	lanes   map[uint32]*lane // by port: those in which a task waits
	turn    []*lane          // the same, in turn
	at      int              // in turn: whose it is
	spare   *lane            // an empty one, for the next port
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

// lane is what waits of one port.
type lane struct {
	port  uint32
	tasks []waitingTask
	bytes int
}

// noPort is the lane of what is about no packet.
const noPort uint32 = 0

// waitingTask is a task and how much memory it keeps.
type waitingTask struct {
	task
	bytes int
}

// task is something to be decided.
type task interface {
	// run has it decided, and returns how long the function took for it; 0
	// where it gave no answer of its own.
	run() time.Duration
	// displaced drops it: other ports' tasks have taken its place in the queue.
	displaced()
}

func newPool(max int) *pool { return &pool{max: max} }

// perQueue is how many goroutines one queue may hold at the most.
func (p *pool) perQueue() int { return max(1, p.max/2) }

// may reports whether q may hold another goroutine.
func (p *pool) may(q *queue) bool { return q.running < min(p.perQueue(), q.share.may()) }

// submit queues a task of a port that keeps so many bytes; false means that there is no
// room for it. In a full queue a task of a port that has less than its share takes the
// place of the oldest task of the port that has most.
func (p *pool) submit(q *queue, port uint32, t task, bytes int) bool {
	p.mu.Lock()
	if !q.fits(port, bytes) {
		p.mu.Unlock()
		return false
	}
	var gone []task
	for q.crowded(bytes) {
		gone = append(gone, q.take(q.longest()))
		p.waiting--
	}
	q.put(port, waitingTask{t, bytes})
	p.waiting++
	p.used(q, time.Now())
	p.list(q)
	if p.running < p.max && len(p.ready) > 0 {
		p.running++
		go p.work()
	}
	p.mu.Unlock()
	for _, t := range gone {
		t.displaced()
	}
	return true
}

// crowded reports whether one more task that keeps so many bytes is too much.
func (q *queue) crowded(bytes int) bool { return q.waiting >= q.limit || q.bytes+bytes > QueueBytes }

// fits reports whether one more task of a port may wait: because there is room, or
// because other ports have more than their share of it. The caller holds the pool's mu.
func (q *queue) fits(port uint32, bytes int) bool {
	if !q.crowded(bytes) {
		return true
	}
	l, ports := q.lanes[port], len(q.lanes)
	if l == nil {
		l = &lane{}
		ports++
	}
	return len(l.tasks) < q.limit/ports && l.bytes+bytes <= QueueBytes/ports
}

// put adds a task. The caller holds the pool's mu.
func (q *queue) put(port uint32, t waitingTask) {
	l := q.lanes[port]
	if l == nil {
		if l = q.spare; l == nil {
			l = new(lane)
		}
		if q.lanes == nil {
			q.lanes = make(map[uint32]*lane)
		}
		q.spare, l.port = nil, port
		q.lanes[port], q.turn = l, append(q.turn, l)
	}
	l.tasks = append(l.tasks, t)
	l.bytes += t.bytes
	q.bytes += t.bytes
	q.waiting++
}

// next takes the oldest task of the port whose turn it is. The caller holds the pool's mu.
func (q *queue) next() task {
	if q.at >= len(q.turn) {
		q.at = 0
	}
	q.at++
	return q.take(q.at - 1)
}

// take takes the oldest task of a lane, by its place in turn. The caller holds the pool's mu.
func (q *queue) take(i int) task {
	l := q.turn[i]
	t := l.tasks[0]
	l.tasks[0] = waitingTask{}
	l.tasks = l.tasks[1:]
	l.bytes -= t.bytes
	q.bytes -= t.bytes
	q.waiting--
	if len(l.tasks) == 0 {
		delete(q.lanes, l.port)
		q.turn, q.spare = slices.Delete(q.turn, i, i+1), l
		if i < q.at {
			q.at--
		}
	}
	return t.task
}

// longest returns the place in turn of the lane that has most: tasks where these are too many, or else bytes.
func (q *queue) longest() (at int) {
	for i, l := range q.turn {
		if m := q.turn[at]; q.waiting >= q.limit && len(l.tasks) > len(m.tasks) || q.waiting < q.limit && l.bytes > m.bytes {
			at = i
		}
	}
	return at
}

// full reports whether submit would refuse a task of a port that keeps so many bytes.
func (p *pool) full(q *queue, port uint32, bytes int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !q.fits(port, bytes)
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
	if !q.listed && q.waiting > 0 && p.may(q) {
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
		next := q.next()
		p.waiting--
		q.running++
		p.list(q)
		p.mu.Unlock()
		took := next.run()
		p.mu.Lock()
		if took > 0 {
			q.share.observe(took, q.running, q.waiting, p.perQueue(), p.others(q, time.Now()))
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
	return q.waiting + q.running
}

// discard drops what q has waiting and returns how much that was.
func (p *pool) discard(q *queue) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := q.waiting
	q.lanes, q.turn, q.spare, q.waiting, q.bytes = nil, nil, nil, 0, 0
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
