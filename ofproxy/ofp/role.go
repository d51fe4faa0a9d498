package ofp

import (
	"fmt"

	"switchbridge/flow"
)

// Role is a controller's role at a switch (OpenFlow 1.3.5, 7.3.9).
type Role uint32

const (
	RoleNoChange Role = iota
	RoleEqual
	RoleMaster
	RoleSlave
)

func (r Role) String() string {
	names := [...]string{"no change", "equal", "master", "slave"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("role %d", uint32(r))
}

// AppendRoleReply answers a ROLE_REQUEST of 1.3.
func AppendRoleReply(b []byte, xid uint32, role Role, generation uint64) []byte {
	start := len(b)
	b = begin(b, flow.OpenFlow13, TypeRoleReply, xid)
	b = be.AppendUint32(b, uint32(role))
	b = pad(b, 4)
	b = be.AppendUint64(b, generation)
	return mustEnd(b, start)
}

// ParseRole reads a ROLE_REQUEST or a ROLE_REPLY.
func ParseRole(msg []byte) (role Role, generation uint64, err error) {
	t, err := eitherOf(msg, TypeRoleRequest, TypeRoleReply)
	if err != nil {
		return 0, 0, err
	}
	_, b, err := body(msg, t, 16)
	if err != nil {
		return 0, 0, err
	}
	return Role(be.Uint32(b)), be.Uint64(b[8:]), nil
}

// Nicira's role messages, which Open vSwitch speaks in OpenFlow 1.0: vendor messages with a subtype and a role that counts from other (OpenFlow
// 1.3's equal). They know no generations.
const (
	niciraVendor      = 0x00002320
	niciraRoleRequest = 10
	niciraRoleReply   = 11
)

// AppendNiciraRole asks a 1.0 switch for a role.
func AppendNiciraRole(b []byte, xid uint32, role Role) []byte {
	start := len(b)
	b = begin(b, flow.OpenFlow10, TypeExperimenter, xid)
	b = be.AppendUint32(b, niciraVendor)
	b = be.AppendUint32(b, niciraRoleRequest)
	b = be.AppendUint32(b, uint32(role-RoleEqual))
	return mustEnd(b, start)
}

// ParseNiciraRole reads a vendor message of 1.0. ok is false for one that is no role message.
func ParseNiciraRole(msg []byte) (role Role, ok bool, err error) {
	_, b, err := body(msg, TypeExperimenter, 4)
	if err != nil || be.Uint32(b) != niciraVendor || len(b) < 8 {
		return 0, false, err
	}
	if subtype := be.Uint32(b[4:]); subtype != niciraRoleRequest && subtype != niciraRoleReply {
		return 0, false, nil
	}
	if len(b) < 12 {
		return 0, false, fmt.Errorf("a role message of %d bytes: want 12 after its header", len(b))
	}
	r := be.Uint32(b[8:])
	if r > uint32(RoleSlave-RoleEqual) {
		return 0, false, fmt.Errorf("role %d of a role message: want 0 to 2", r)
	}
	return RoleEqual + Role(r), true, nil
}
