package bridge

import "switchbridge/internal/flowtest"

var (
	tcpPacket = flowtest.TCP
	goodRule  = flowtest.Rule
)
