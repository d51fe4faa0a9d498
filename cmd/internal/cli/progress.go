package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// lineEvery is how often long work writes a line where there is no terminal.
const lineEvery = 10 * time.Second

// Progress shows how far long work is, beside what it prints: on a terminal a bar
// with rate and time left, elsewhere a line every ten seconds. A nil *Progress
// shows nothing, and is what commands use under --json.
type Progress struct {
	w    io.Writer
	what string

	mu    sync.Mutex
	bar   *progressbar.ProgressBar // nil: lines
	began time.Time
	next  time.Time // of a line
	steps int64
	ended bool
}

// NewProgress is for work whose amount is counted in what, such as "rounds", or in
// bytes.
func NewProgress(w io.Writer, what string) *Progress {
	p := &Progress{w: w, what: what, began: time.Now()}
	p.next = p.began.Add(lineEvery)
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = newBar(w, what)
	}
	return p
}

func newBar(w io.Writer, what string) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(what == "bytes"), progressbar.OptionSetItsString(what),
		progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionClearOnFinish())
}

// Set says that done of total is done; a total of 0 is not known. note says more,
// and may be empty.
func (p *Progress) Set(done, total int64, note string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	if p.bar != nil {
		if total > 0 && p.bar.GetMax64() != total {
			p.bar.ChangeMax64(total)
		}
		p.bar.Describe(note)
		_ = p.bar.Set64(done) // its error is the terminal's
		return
	}
	if now := time.Now(); !now.Before(p.next) {
		p.next = now.Add(lineEvery)
		fmt.Fprintln(p.w, p.line(done, total, note, now.Sub(p.began)))
	}
}

// Say writes a line that stays.
func (p *Progress) Say(line string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(p.w, line)
	p.next = time.Now().Add(lineEvery) // the line is progress enough
}

// Step says that one more of total is done, and writes a line about it that stays.
func (p *Progress) Step(total int64, line string) {
	if p == nil {
		return
	}
	p.Say(line)
	p.mu.Lock()
	p.steps++
	done := p.steps
	p.mu.Unlock()
	p.Set(done, total, "")
}

// line is what is written where there is no terminal.
func (p *Progress) line(done, total int64, note string, took time.Duration) string {
	var parts []string
	if note != "" {
		parts = append(parts, note)
	}
	if total > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d %s, %.0f %%", done, total, p.what, 100*float64(done)/float64(total)))
	} else {
		parts = append(parts, fmt.Sprintf("%d %s", done, p.what))
	}
	if s := took.Seconds(); s > 0 && done > 0 {
		rate := float64(done) / s
		parts = append(parts, fmt.Sprintf("%.3g a second", rate))
		if total > done {
			left := time.Duration(float64(total-done) / rate * float64(time.Second))
			parts = append(parts, left.Round(time.Second).String()+" left")
		}
	}
	return strings.Join(parts, ", ")
}

// End takes the bar away, so that results follow a clean line.
func (p *Progress) End() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
