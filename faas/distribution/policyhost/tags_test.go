package policyhost

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/flow"
	"switchbridge/internal/logbuffer"
)

// Where the policy that counts by now looks at VLANs and no packet shows one, the
// log says so: once, after 1,000 packets, and not where one has had a tag.
func TestTagHintFollowsThePolicy(t *testing.T) {
	const vlan, ports = "{vlan_vid: 5}", "{tcp_dst: 22}"
	type step struct {
		match   string // of a new policy's rule; empty: it stays
		packets int
		tagged  bool
		hints   int // said until now
	}
	for name, steps := range map[string][]step{
		"from the start":        {{vlan, 999, false, 0}, {"", 1, false, 1}, {"", 5000, false, 1}},
		"a packet has a tag":    {{vlan, 999, false, 0}, {"", 1, true, 0}, {"", 5000, false, 0}},
		"no VLAN":               {{ports, 5000, false, 0}},
		"by a reload":           {{ports, 5000, false, 0}, {vlan, 999, false, 0}, {"", 1, false, 1}},
		"no more by a reload":   {{vlan, 999, false, 0}, {ports, 5000, false, 0}},
		"another that looks":    {{vlan, 1000, false, 1}, {"{vlan_vid: 6}", 5000, false, 1}},
		"again after one else":  {{vlan, 1000, false, 1}, {ports, 5000, false, 1}, {vlan, 1000, false, 2}},
		"a tag, then by reload": {{vlan, 1, true, 0}, {ports, 1, false, 0}, {vlan, 5000, false, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy")
			var logs logbuffer.Buffer
			var file *File
			for i, s := range steps {
				if s.match != "" {
					write(t, path, fmt.Sprintf("serial: %d\nchain:\n  - header:\n      rules:\n        - {match: %s, action: deny}\n", i+1, s.match))
				}
				if file == nil {
					f, p, err := Open(path, slog.New(slog.NewTextHandler(&logs, nil)), nil)
					if err != nil {
						t.Fatal(err)
					}
					file = f
					file.Follow(NewNative(p), nil)
				} else if s.match != "" {
					if err := file.Reload(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				var m flow.Match
				m.SetVLAN(flow.VLANNone, flow.VLANExact)
				if s.tagged {
					m.SetVLAN(flow.VLANPresent|7, flow.VLANExact)
				}
				for range s.packets {
					file.Saw(&m)
				}
				if n := strings.Count(logs.String(), "the policy looks at VLANs"); n != s.hints {
					t.Errorf("step %d: %d hints, want %d", i, n, s.hints)
				}
			}
		})
	}
}
