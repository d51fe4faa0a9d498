package wasmmetrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"switchbridge/faas/instance/wasmhost"
	"switchbridge/faas/instance/wasmhost/wasmmetrics"
)

func TestCollector(t *testing.T) {
	stats := wasmhost.Stats{Reset: wasmhost.ResetMarked, Events: 11, Waited: 2, Traps: 3, Deadlines: 4, BadAnswers: 5,
		Grew: 6, Created: 8, Instances: 9, BytesRestored: 10, Completed: 1, Lean: true}
	reg := prometheus.NewPedanticRegistry()
	for _, name := range []string{"campus", "labs"} {
		if err := reg.Register(wasmmetrics.New(name, func() wasmhost.Stats { return stats })); err != nil {
			t.Fatal(err)
		}
	}
	if err := reg.Register(wasmmetrics.New("labs", func() wasmhost.Stats { return stats })); err == nil {
		t.Error("two functions of one name were taken")
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	got := w.Body.String()
	for _, want := range []string{
		`switchbridge_wasm_events_total{function="campus"} 11`,
		`switchbridge_wasm_events_total{function="labs"} 11`,
		`switchbridge_wasm_waited_total{function="labs"} 2`,
		`switchbridge_wasm_instances_created_total{function="labs"} 8`,
		`switchbridge_wasm_instances{function="labs"} 9`,
		`switchbridge_wasm_restored_bytes_total{function="labs"} 10`,
		`switchbridge_wasm_completed_total{function="labs"} 1`,
		`switchbridge_wasm_lean{function="labs"} 1`,
		`switchbridge_wasm_instances_lost_total{function="labs",reason="trap"} 3`,
		`switchbridge_wasm_instances_lost_total{function="labs",reason="deadline"} 4`,
		`switchbridge_wasm_instances_lost_total{function="labs",reason="bad answer"} 5`,
		`switchbridge_wasm_instances_lost_total{function="labs",reason="memory grew"} 6`,
		`switchbridge_wasm_reset_info{function="labs",way="marked blocks"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
