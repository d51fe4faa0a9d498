package bridge

import (
	"time"

	dto "github.com/prometheus/client_model/go"

	"switchbridge/internal/flowtest"
)

var (
	tcpPacket = flowtest.TCP
	goodRule  = flowtest.Rule
)

// chore is a task that nobody minds losing.
type chore func() time.Duration

func (w chore) run() time.Duration { return w() }
func (chore) displaced()           {}

// dropped is how many packets of OpenFlow were dropped for a cause.
func dropped(b *Bridge, cause string) int {
	var m dto.Metric
	if err := b.cfg.Metrics.drops.WithLabelValues("openflow", cause).Write(&m); err != nil {
		panic(err)
	}
	return int(m.GetCounter().GetValue())
}
