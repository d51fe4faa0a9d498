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
