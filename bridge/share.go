package bridge

import "time"

// share bounds how many questions of one switch are under way, by how long their
// answers take. A function that can do so much and no more answers in turn, so a
// switch that keeps half of the pool's goroutines asking makes every other switch
// wait behind its questions. What a switch gets answered does not become less by
// asking fewer at a time, as long as the function always has some: its share
// shrinks when answers take longer than they did without the wait, and grows while
// they don't and more events wait.
//
// A switch begins with shareStart, which doubles with as many answers until they
// first take longer; a burst is asked about in three round trips more than at once,
// and a flood dials no hundred connections. What is compared are the quickest
// answers of some in a row, so that neither one slow event nor routes to functions
// of different speed count as a wait. Beside other switches that ask, too, a much
// smaller wait counts: what is quickest for one is what all others begin at, and on
// a function that shares its cores their slowest wait many times as long. A switch
// with few questions under way is never slowed: it is not what makes the function
// slow.
//
// The zero value is a switch's that begins.
type share struct {
	limit int  // 0: shareStart
	bound bool // answers have taken longer

	seen  int           // answers in this window
	most  int           // questions under way at one time in it
	quick time.Duration // its quickest answer
	base  time.Duration // the quickest answer that is known; 0: none yet
	since time.Duration // about how long ago base was looked for
}

const (
	shareWindow = 16                     // answers
	shareStart  = 8                      // questions
	shareMin    = 1                      // questions under way that a switch may always have
	shareSlack  = 250 * time.Microsecond // of waiting that is nobody's fault
	// shareProbe is how long it takes until a switch that was bound asks few at a
	// time again, to see what an answer takes without a wait: the function may have
	// moved.
	shareProbe = 3 * time.Second
)

// may returns how many questions may be under way.
func (s *share) may() int {
	if s.limit == 0 {
		return shareStart
	}
	return s.limit
}

// observe notes an answer: what it took, how many questions were under way, how
// many wait, how many may be under way at the most, and whether other switches ask.
func (s *share) observe(took time.Duration, running, waiting, most int, others bool) {
	if s.seen == 0 || took < s.quick {
		s.quick = took
	}
	s.most = max(s.most, running)
	window := shareWindow
	if !s.bound {
		window = min(window, s.may())
	}
	if s.seen++; s.seen < window {
		return
	}
	quick, under := s.quick, s.most
	s.seen, s.most = 0, 0
	if s.base == 0 || quick < s.base {
		s.base = quick
	}
	if s.bound {
		if s.since += shareWindow * quick / time.Duration(under); s.since > shareProbe {
			s.since, s.base, s.limit = 0, 0, shareMin
			return
		}
	}
	good := 3*s.base/2 + shareSlack
	if others {
		good = 5*s.base/4 + shareSlack/4
	}
	switch {
	case quick > good && under > shareMin:
		// By half at the most: what was under way when the share shrank is seen again.
		s.limit = max(shareMin, under/2, int(float64(under)*float64(good)/float64(quick)))
		s.bound = true
	case quick <= good && waiting > 0 && under >= s.may():
		grow := s.may()
		if s.bound {
			grow = max(1, s.may()/8)
		}
		s.limit = min(most, s.may()+grow)
	}
}
