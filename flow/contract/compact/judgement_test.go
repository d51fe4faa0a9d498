package compact

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"switchbridge/flow"
)

func judgement() flow.Judgement {
	return flow.Judgement{
		Verdict: flow.Deny, Reason: "a: bc", Policy: flow.PolicyVersion{Serial: 7, Hash: 0xc0ffee},
		Rule: true, Fields: flow.FieldIPSrc | flow.FieldL4Dst, Priority: 100, Table: 1,
		IdleTimeout: time.Minute, HardTimeout: 2 * time.Minute,
		Effect: flow.Effect{Meter: 9, Goto: 2, Actions: []flow.Action{flow.OutputTo(4)}},
	}
}

func TestJudgements(t *testing.T) {
	m, full := tcp4(), judgement()
	covers := full
	covers.CoversIncomplete = true
	again := full
	again.Reuse = flow.Reuse{For: flow.MaxReuse, Fields: flow.AllFields, Switch: true}
	alone := flow.Judgement{Verdict: flow.Allow, Effect: flow.Effect{Actions: everyAction()}}
	for name, j := range map[string]flow.Judgement{"rule": full, "covers": covers, "again": again, "packet": alone, "nothing": {}} {
		var want, got flow.Decision
		j.Spell(&m, &want)
		b, ok := AppendJudgement(nil, &j)
		if err := new(Reader).Parse(b, &m, &got); !ok || err != nil || !same(&got, &want) {
			t.Errorf("%s: fits %v, %v\n got %+v\nwant %+v", name, ok, err, got, want)
		}
		malformed(t, name, b, func(b []byte) error { return new(Reader).Parse(b, &m, new(flow.Decision)) })
	}
	want := unhex(t, `02 02 01 01 01 02 6400 00120000 09000000 3c00 7800 05000000 0700000000000000 eeffc000 0000000000000000 0100000004000000 613a206263`)
	if b, _ := AppendJudgement(nil, &full); !bytes.Equal(b, want) {
		t.Errorf("\n got %x\nwant %x", b, want)
	}
}

func TestMalformedJudgements(t *testing.T) {
	m, j := tcp4(), judgement()
	good, _ := AppendJudgement(nil, &j)
	for name, change := range map[string]func([]byte){
		"verdict":      func(b []byte) { b[1] = 3 },
		"rule":         func(b []byte) { b[2] = 4 },
		"no rule":      func(b []byte) { b[2] = 2 }, // and yet it covers incomplete packets
		"actions":      func(b []byte) { b[3] = 255 },
		"absent field": func(b []byte) { b[10] |= byte(flow.FieldARPSPA >> 16) },
		"reason":       func(b []byte) { b[23] = 0xff },
		"not again":    func(b []byte) { b[39] = 2 }, // fields and no seconds
		"for too long": func(b []byte) { b[39] = 61 << 2 },
		"action":       func(b []byte) { b[judgementHeader] = byte(flow.SetIPDst) },
	} {
		b := bytes.Clone(good)
		change(b)
		if err := new(Reader).Parse(b, &m, new(flow.Decision)); err == nil || err == ErrUnfit {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*flow.Judgement){
		"timeout":     func(j *flow.Judgement) { j.IdleTimeout = 65536 * time.Second },
		"256 actions": func(j *flow.Judgement) { j.Actions = make([]flow.Action, 256) },
		"address":     func(j *flow.Judgement) { j.Actions = []flow.Action{{Type: flow.SetIPSrc}} },
	} {
		j := judgement()
		change(&j)
		if b, ok := AppendJudgement([]byte("before"), &j); ok || !strings.HasPrefix(string(b), "before") || len(b) != 6 {
			t.Errorf("%s: fits %v, %x", name, ok, b)
		}
	}
}

func FuzzParse(f *testing.F) {
	j := judgement()
	b, _ := AppendJudgement(nil, &j)
	f.Add(b)
	j.CoversIncomplete = true
	b, _ = AppendJudgement(nil, &j)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, d := tcp4(), flow.Decision{}
		if new(Reader).Parse(b, &m, &d) == nil && len(d.Reason) > maxReason {
			t.Fatalf("a reason of %d bytes", len(d.Reason))
		}
	})
}
