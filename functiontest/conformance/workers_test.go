package conformance

import (
	"testing"

	"switchbridge/faas/platform/workershost/workerstest"
	"switchbridge/functiontest"
	"switchbridge/policy/blob"
)

func TestWorkers(t *testing.T) {
	compiled, err := blob.Pack(Policy())
	if err != nil {
		t.Fatal(err)
	}
	worker := workerstest.Start(t, workerstest.Options{Policy: compiled})
	t.Run("contract", func(t *testing.T) { Contract(t, worker.Exchange) })
	for _, e := range encodings {
		t.Run(e.name, func(t *testing.T) { Run(t, functiontest.Client(e.codec, worker.Exchange), e.codec) })
	}
}
