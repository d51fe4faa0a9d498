package conformance

import (
	"testing"

	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/policy/blob"
)

func TestWorkers(t *testing.T) {
	compiled, err := blob.Pack(Policy())
	if err != nil {
		t.Fatal(err)
	}
	worker := workerstest.Start(t, workerstest.Options{Policy: compiled})
	t.Run("refusals", func(t *testing.T) { Refusals(t, worker.Exchange) })
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) { Run(t, Client(e.codec, worker.Exchange), e.codec) })
	}
}
