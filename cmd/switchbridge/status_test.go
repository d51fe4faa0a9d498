package main

import (
	"strings"
	"testing"
	"time"

	"switchbridge/pair"
)

// TestPairText: status says who leads, and if that is a gateway with the older policy.
func TestPairText(t *testing.T) {
	for _, row := range []struct {
		name  string
		is    pair.Status
		says  string
		older bool
	}{
		{"leads", pair.Status{State: pair.State{Leads: true, Serial: 5}, Why: "started", Heard: time.Now(), Answers: true, PeerIs: &pair.State{Serial: 5}}, "this gateway leads since", false},
		{"leads by an older policy", pair.Status{State: pair.State{Leads: true, Serial: 4}, Why: "the other gateway does not answer", Heard: time.Now(), Older: true, PeerIs: &pair.State{Serial: 5}},
			"THIS GATEWAY'S POLICY IS OLDER: serial 4, and 10.0.0.2:9654 has 5", true},
		{"stands by with an older policy", pair.Status{State: pair.State{Serial: 4}, Heard: time.Now(), Answers: true, PeerIs: &pair.State{Leads: true, Serial: 5}}, "this gateway stands by since", false},
	} {
		row.is.Peer = "10.0.0.2:9654"
		text := pairText(&row.is)
		if !strings.Contains(text, row.says) || strings.Contains(text, "OLDER") != row.older {
			t.Errorf("%s: %q, want %q", row.name, text, row.says)
		}
	}
}
