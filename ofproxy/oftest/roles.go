package oftest

import (
	"sync"

	"switchbridge/ofproxy/ofp"
)

// Roles are what the controllers of one switch are to it (OpenFlow 1.3.5, 6.3.4). The Datapaths of its connections share them. The zero value
// has no master.
type Roles struct {
	mu         sync.Mutex
	claimed    bool   // a generation has come
	generation uint64 // of the newest claim
	master     *Datapath
	slaves     map[*Datapath]bool
}

// ask grants a role, or says that the request is older than one that was granted.
func (r *Roles) ask(d *Datapath, role ofp.Role, generation uint64) (granted ofp.Role, current uint64, stale bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch role {
	case ofp.RoleMaster, ofp.RoleSlave:
		if r.claimed && int64(generation-r.generation) < 0 {
			return 0, 0, true
		}
		r.claimed, r.generation = true, generation
		if r.slaves == nil {
			r.slaves = map[*Datapath]bool{}
		}
		if r.master == d {
			r.master = nil
		}
		r.slaves[d] = role == ofp.RoleSlave
		if role == ofp.RoleMaster {
			if r.master != nil {
				r.slaves[r.master] = true
			}
			r.master = d
		}
	case ofp.RoleEqual:
		if r.master == d {
			r.master = nil
		}
		delete(r.slaves, d)
	}
	switch {
	case r.master == d:
		return ofp.RoleMaster, r.generation, false
	case r.slaves[d]:
		return ofp.RoleSlave, r.generation, false
	}
	return ofp.RoleEqual, r.generation, false
}

// askNow is ask for Nicira's messages in OpenFlow 1.0: they have no generation, so that whoever comes last gets the role.
func (r *Roles) askNow(d *Datapath, role ofp.Role) ofp.Role {
	r.mu.Lock()
	now := r.generation
	r.mu.Unlock()
	granted, _, _ := r.ask(d, role, now)
	return granted
}

// Asks reports whether the controller at the other end is sent PACKET_INs, and may change the switch: it is no slave.
func (d *Datapath) Asks() bool {
	r := d.cfg.Roles
	if r == nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.slaves[d]
}

// Gone says that the connection has ended, and its role with it.
func (d *Datapath) Gone() {
	r := d.cfg.Roles
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.master == d {
		r.master = nil
	}
	delete(r.slaves, d)
}
