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

// work is a task that nobody minds losing.
type work func() time.Duration

func (w work) run() time.Duration { return w() }
func (work) displaced()           {}

// dropped is how many packets of OpenFlow were dropped for a cause.
func dropped(b *Bridge, cause string) int {
	var m dto.Metric
	if err := b.cfg.Metrics.drops.WithLabelValues("openflow", cause).Write(&m); err != nil {
		panic(err)
	}
	return int(m.GetCounter().GetValue())
}
