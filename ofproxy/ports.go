package ofproxy

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"switchbridge/flow"
)

// maxPorts bounds what a switch can make the gateway remember.
const maxPorts = 65536

const (
	// fewPorts is the length of a list up to which every change is shown at once.
	fewPorts = 256
	// portPause is for how long a longer list is left alone after a change before it is shown, for each of its ports: 65,536 are copied once
	// a second at most.
	portPause = 16 * time.Microsecond
)

// portList is a switch's ports. [session.Describe] shows a copy, which is never
// modified. If the list is long, several changes share one copy: a switch with 65,536
// ports that reports each of them must not cause 65,536 copies, and events that are
// under way hold few of them.
type portList struct {
	show func([]flow.Port) // called with mu held

	mu    sync.Mutex
	list  []flow.Port
	index map[flow.PortNo]int // in list
	timer *time.Timer         // shows it; nil: nothing is due
}

// set replaces all ports, and shows them. Of two ports with one number the first
// counts.
func (p *portList) set(ports []flow.Port) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list, p.index = make([]flow.Port, 0, len(ports)), make(map[flow.PortNo]int, len(ports))
	for _, port := range ports {
		if _, twice := p.index[port.No]; !twice {
			p.index[port.No] = len(p.list)
			p.list = append(p.list, port)
		}
	}
	p.publish()
}

// change takes a PORT_STATUS.
func (p *portList) change(ps *flow.PortStatus) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.index == nil { // it comes before the list
		p.index = make(map[flow.PortNo]int)
	}
	at, known := p.index[ps.Port.No]
	switch {
	case ps.Reason == flow.PortDeleted:
		if !known {
			return nil
		}
		last := len(p.list) - 1
		p.list[at] = p.list[last]
		p.index[p.list[at].No] = at
		p.list[last] = flow.Port{}
		p.list = p.list[:last]
		delete(p.index, ps.Port.No)
	case known:
		p.list[at] = ps.Port
	case len(p.list) >= maxPorts:
		return fmt.Errorf("more than %d ports", maxPorts)
	default:
		p.index[ps.Port.No] = len(p.list)
		p.list = append(p.list, ps.Port)
	}
	switch {
	case len(p.list) <= fewPorts:
		p.publish()
	case p.timer == nil:
		p.timer = time.AfterFunc(time.Duration(len(p.list))*portPause, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.publish()
		})
	}
	return nil
}

// publish shows the list, ordered by number. The caller holds mu.
func (p *portList) publish() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	shown := slices.Clone(p.list)
	slices.SortFunc(shown, func(a, b flow.Port) int { return cmp.Compare(a.No, b.No) })
	p.show(shown)
}
