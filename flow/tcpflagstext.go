package flow

import (
	"fmt"
	"strings"
)

// tcpFlagNames are those of [FIN] to [ACK] by their bits, as policies call them.
var tcpFlagNames = [...]string{"fin", "syn", "rst", "psh", "ack"}

// String names the flags from FIN to ACK that are set, with + between, or none.
func (f TCPFlags) String() string {
	var names []string
	for i, name := range tcpFlagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

// ParseTCPFlags is the inverse of [TCPFlags.String].
func ParseTCPFlags(s string) (f TCPFlags, err error) {
	if s == "none" {
		return 0, nil
	}
next:
	for word := range strings.SplitSeq(s, "+") {
		for i, name := range tcpFlagNames {
			if word == name {
				f |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("TCP flags %q: want some of %s with + between, or none", s, strings.Join(tcpFlagNames[:], ", "))
	}
	return f, nil
}
