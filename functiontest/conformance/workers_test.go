package conformance

import (
	"testing"

	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/functiontest"
	"switchbridge/policy/blob"
)

func startWorker(t *testing.T) *workerstest.Worker {
	t.Helper()
	compiled, err := blob.Pack(Policy())
	if err != nil {
		t.Fatal(err)
	}
	return workerstest.Start(t, workerstest.Options{Policy: compiled})
}

func TestWorkers(t *testing.T) {
	worker := startWorker(t)
	t.Run("refusals", func(t *testing.T) { Refusals(t, worker.Exchange) })
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) { Run(t, functiontest.Client(e.codec, worker.Exchange), e.codec) })
	}
}
