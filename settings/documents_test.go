package settings

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"switchbridge/faas/function/selfhost"
	"switchbridge/faas/instance/wasmhost"
	"switchbridge/p4bridge"
)

// Where a document tells a default in a sentence or a table, it is the one of
// the code. The guardrails' table has a test of its own (bridge/guard), and the
// reference's keys have theirs here.
func TestDocumentsTellDefaults(t *testing.T) {
	d, fn := Default(), selfhost.DefaultFunction()
	hours := func(d time.Duration) string { return fmt.Sprintf("%g h", d.Hours()) }
	for _, row := range []struct{ page, text string }{
		{"docs/contract.md", fmt.Sprintf("| rules in an answer | 16,384 to be read; %d by default to be installed |", d.Guardrails.MaxRules)},
		{"docs/operating.md", "`guardrails.max_hard_timeout`, " + hours(d.Guardrails.MaxHardTimeout) + " by default"},
		{"docs/operating.md", fmt.Sprintf("queue %d > fail mode %s > reuse > state > limit %d", d.Limits.Queue, "secure", d.Function.Concurrency)},
		{"docs/operating.md", "http://" + d.Admin.Listen + "/readyz"},
		{"docs/operating.md", "`--function " + d.Function.URLs[0] + "`, which is the default"},
		{"docs/state.md", fmt.Sprintf("| `entries` | %d |", d.State.Entries)},
		{"docs/state.md", fmt.Sprintf("| `bytes` | %d |", d.State.Bytes)},
		{"docs/state.md", fmt.Sprintf("| `timeout` | %v |", d.State.Timeout)},
		{"docs/state.md", fmt.Sprintf("| `on_failure` | %s |", d.State.OnFailure)},
		{"docs/state.md", fmt.Sprintf("| `staleness` | %v |", d.State.Staleness)},
		{"configs/functions.yaml", fmt.Sprintf("entries: %d", d.State.Entries)},
		{"docs/p4.md", fmt.Sprintf("gives every rule it finds %.0f s more", d.Guardrails.HardTimeout.Seconds())},
		{"docs/p4.md", "| `" + p4bridge.Miss(0).String() + "` (default) |"},
		{"docs/guest-abi.md", fmt.Sprintf("`memory limit` of the host, %d MiB", wasmhost.DefaultMemoryLimit>>20)},
		{"docs/guest-abi.md", fmt.Sprintf("the host's deadline, %.0f s,", wasmhost.DefaultDeadline.Seconds())},
		{"docs/guest-abi.md", fmt.Sprintf("| time for steps 1 and 2 | %.0f s |", wasmhost.DefaultInitDeadline.Seconds())},
		{"configs/functions.yaml", fmt.Sprintf("concurrency: %d", fn.Concurrency)},
		{"configs/functions.yaml", fmt.Sprintf("deadline: %v", fn.Deadline)},
		{"configs/functions.yaml", fmt.Sprintf("memory_mib: %d", fn.Memory)},
		{"configs/functions.yaml", fmt.Sprintf("drain_timeout: %v", selfhost.DefaultDrain)},
	} {
		page, err := os.ReadFile("../" + row.page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), row.text) {
			t.Errorf("%s does not say %q, which is the default", row.page, row.text)
		}
	}
}

// An outer bound is longer than the one inside it, or that one would never be met.
func TestDefaultsFitEachOther(t *testing.T) {
	d := Default()
	switch f := d.Function; {
	case f.TryTimeout >= f.Timeout:
		t.Errorf("one try may take %v of an event's %v: there is no second", f.TryTimeout, f.Timeout)
	case d.OpenFlow.DrainTimeout < f.Timeout:
		t.Errorf("the gateway waits %v for events that may take %v", d.OpenFlow.DrainTimeout, f.Timeout)
	}
}
