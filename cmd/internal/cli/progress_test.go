package cli

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Where there is no terminal, long work writes a line every ten seconds with rate
// and time left, and none while it is short.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewProgress(&out, "packets")
		for i := range int64(400) { // four a second
			p.Set(i, 400, "x.pcap")
			time.Sleep(250 * time.Millisecond)
		}
		p.End()
		p.Set(400, 400, "after the end")
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 9 || lines[0] != "x.pcap, 40 of 400 packets, 10 %, 4 a second, 1m30s left" {
			t.Errorf("%d lines: %s", len(lines), out.String())
		}
		out.Reset()
		p = NewProgress(&out, "rounds")
		p.Step(3, "one is done")
		p.End()
		if out.String() != "one is done\n" {
			t.Errorf("%q", out.String())
		}
		var none *Progress // under --json
		none.Set(1, 2, "")
		none.Step(2, "")
		none.Say("")
		none.End()
	})
}

// On a terminal there is a bar, which makes room for lines that stay.
func TestProgressBar(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, "rounds")
	p.bar = newBar(&out, "rounds")
	p.Step(4, "one is done")
	p.Say("another line")
	p.Set(2, 4, "x")
	p.End()
	if s := out.String(); !strings.Contains(s, "one is done\n") || !strings.Contains(s, "another line\n") || !strings.Contains(s, "/4,") {
		t.Errorf("%q", s)
	}
}
