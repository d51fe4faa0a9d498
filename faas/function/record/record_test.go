package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"switchbridge/faas/instance/guest"
	"switchbridge/flow"
)

func TestRecord(t *testing.T) {
	r := Of(&guest.Request{Event: flow.EventPacketIn, ID: "7", DPID: 0xab, Session: "10.0.0.1:4711/2"},
		&guest.Answer{Status: 200, Verdict: "deny", Reason: "blocklist: 1.2.3.4", Policy: "3-000000ab"})
	r.Match = "in_port=1"
	r.Time, r.Duration, r.Function = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)), 1234567*time.Nanosecond, "labs"
	want := `{"time":"2026-01-02T02:04:05.000006Z","function":"labs","event":"switchbridge.packet_in.v1","dpid":"00000000000000ab",` +
		`"id":"7","session":"10.0.0.1:4711/2","match":"in_port=1","status":200,"verdict":"deny","reason":"blocklist: 1.2.3.4","policy":"3-000000ab","duration_us":1234.6}` + "\n"
	if got := string(r.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	const page = "../../../docs/deploy/self-hosted.md" // shows it
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "    "+want) {
		t.Errorf("%s doesn't show the record: %v", page, err)
	}
}

func TestRecordOfAnError(t *testing.T) {
	r := Of(&guest.Request{}, &guest.Answer{Status: 401, Reason: "no valid bearer token"})
	r.Match = "in_port=1"
	want := `{"time":"0001-01-01T00:00:00Z","match":"in_port=1","status":401,"duration_us":0.0,"error":"no valid bearer token"}` + "\n"
	if got := string(r.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever a caller sends, a record is one line of JSON and leaves terminals alone.
func FuzzRecord(f *testing.F) {
	f.Add("a\"b\\c\n\x1b[2J", "\xff\u2028", 200)
	f.Fuzz(func(t *testing.T, id, reason string, status int) {
		r := Record{ID: id, Reason: reason, Status: status}
		line := r.Append(nil)
		if !json.Valid(line) || bytes.Count(line, []byte{'\n'}) != 1 || bytes.ContainsAny(line, "\x1b\x00") {
			t.Fatalf("%q", line)
		}
	})
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriter(t *testing.T) {
	none := NewWriter(nil)
	none.Write(&Record{})
	w := NewWriter(failing{})
	w.Write(&Record{})
	if none.Failed() != 0 || w.Failed() != 1 {
		t.Error(none.Failed(), w.Failed())
	}
	var out bytes.Buffer
	w = NewWriter(&out)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { w.Write(&Record{ID: strings.Repeat("x", 2000)}) })
	}
	all.Wait()
	for line := range bytes.Lines(out.Bytes()) {
		if !json.Valid(line) || len(line) > 1200 {
			t.Errorf("%s", line)
		}
	}
}

// Only what W3C Trace Context calls a trace's id is written, whoever sends the header.
func TestTraceID(t *testing.T) {
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":      id,
		"cc-" + id + "-00f067aa0ba902b7-01-more": id,
		"":                                       "",
		"00-" + id + "-00f067aa0ba902b7":         "",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":  "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":  "",
		"00-4bf92f3577b34da6a3ce929d0e0e473\"-00f067aa0ba902b7-01": "",
		"00_" + id + "-00f067aa0ba902b7-01":                        "",
		"00-" + id + "_00f067aa0ba902b7-01":                        "",
	} {
		if got := TraceID(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
