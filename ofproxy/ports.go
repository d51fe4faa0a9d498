package ofproxy

import (
	"fmt"
	"sync"
	"time"

	"switchbridge/flow"
)

// maxPorts bounds what a switch can make the gateway remember.
const maxPorts = 65536

const (
	// fewPorts is the length of a list up to which every change is shown at once.
	fewPorts = 256
	// portsWithin is when a change of a longer list is shown at the latest.
	portsWithin = 100 * time.Millisecond
)

// portList is a switch's ports. [session.Describe] shows a copy, which is never
// modified. If the list is long, several changes share one copy: a switch with 65,536
// ports that reports each of them must not cause 65,536 copies.
type portList struct {
	show func([]flow.Port) // called with mu held

	mu      sync.Mutex
	list    []flow.Port
	gone    []bool              // of list: deleted, and still in place
	index   map[flow.PortNo]int // in list, of ports that are there
	changed int                 // since the list was shown
	timer   *time.Timer         // shows it; nil: nothing is due
}

// set replaces all ports, and shows them.
func (p *portList) set(ports []flow.Port) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = ports
	p.gone = make([]bool, len(ports))
	p.number()
	p.publish()
}

// number fills the index. The caller holds mu. Of two ports with one number the
// first counts.
func (p *portList) number() {
	p.index = make(map[flow.PortNo]int, len(p.list))
	for i := range p.list {
		if _, twice := p.index[p.list[i].No]; !twice {
			p.index[p.list[i].No] = i
		}
	}
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
		p.gone[at] = true
		delete(p.index, ps.Port.No)
	case known:
		p.list[at] = ps.Port
	case len(p.index) >= maxPorts:
		return fmt.Errorf("more than %d ports", maxPorts)
	default:
		p.index[ps.Port.No] = len(p.list)
		p.list, p.gone = append(p.list, ps.Port), append(p.gone, false)
	}
	p.changed++
	switch {
	case len(p.list) <= fewPorts || p.changed >= len(p.list)/4:
		p.publish()
	case p.timer == nil:
		p.timer = time.AfterFunc(portsWithin, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.publish()
		})
	}
	return nil
}

// publish shows the list, without the ports that are gone. The caller holds mu.
func (p *portList) publish() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	shown := make([]flow.Port, 0, len(p.list))
	for i := range p.list {
		if !p.gone[i] {
			shown = append(shown, p.list[i])
		}
	}
	if len(shown) < len(p.list) {
		p.list = append(p.list[:0], shown...)
		p.gone = append(p.gone[:0], make([]bool, len(shown))...)
		p.number()
	}
	p.changed = 0
	p.show(shown)
}
