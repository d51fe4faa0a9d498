package bridge

import (
	"fmt"

	"switchbridge/flow"
)

// A cookie's parts: bits 63 to 48 the gateway, 47 to 32 the policy version's
// tag, 31 whether the rule rests on a state, 30 to 0 the decision's number, so
// that a rule in a switch leads back to the log line of its decision.
//
// Tag 0 with number 0 is what the gateway sets up itself: standing rules and
// learned addresses, which are of no policy. Tag 0 with another number is no
// cookie of ours.
const (
	gatewayMask uint64 = 0xffff << 48     // all rules of one gateway
	versionMask uint64 = 0xffffffff << 32 // all rules of one gateway and policy version
	stateBit    uint64 = 1 << 31          // the rule rests on a state, see book
	numberMask  uint32 = 1<<31 - 1
	memberBit   uint32 = 1 << 30 // of a number: which gateway of a pair gave it
)

// unversioned is the tag of rules that a function without policy versions
// returned. No version has it.
const unversioned uint16 = 0xffff

// GatewayID tells the gateways that share a switch apart. It must be the same
// after a restart.
//
// 0xffff is not one: Open vSwitch and OpenFlow keep cookies of ones for
// themselves. 0 is not one either: rules that people add by hand have small
// cookies or none, and a gateway that called them its own would sweep them.
type GatewayID uint16

// Validate returns an error unless g can be a gateway's.
func (g GatewayID) Validate() error {
	if g == 0 || g == 0xffff {
		return fmt.Errorf("gateway id %#x: want 0x1 to 0xfffe", uint16(g))
	}
	return nil
}

// Cookie returns what a decision's rules carry.
func (g GatewayID) Cookie(v flow.PolicyVersion, decision uint32) uint64 {
	return uint64(g)<<48 | uint64(tagOf(v))<<32 | uint64(decision&numberMask)
}

// standing is the cookie of what the gateway sets up itself.
func (g GatewayID) standing() uint64 { return uint64(g) << 48 }

// version is what all rules of one policy version have under versionMask.
func (g GatewayID) version(tag uint16) uint64 { return uint64(g)<<48 | uint64(tag)<<32 }

// Owns reports whether cookie is one of g's.
func (g GatewayID) Owns(cookie uint64) bool {
	id, tag, n := SplitCookie(cookie)
	return id == g && (tag != 0 || n == 0)
}

// isStanding reports whether a cookie of this gateway's is of what it sets up
// itself.
func isStanding(cookie uint64) bool { return cookie&^gatewayMask == 0 }

// tagOf is the version's 16 bits in a cookie.
func tagOf(v flow.PolicyVersion) uint16 {
	if v.IsZero() {
		return unversioned
	}
	return v.Tag()
}

// restsOnState reports whether a cookie of this gateway's is of a rule that rests on a state.
func restsOnState(cookie uint64) bool { return cookie&stateBit != 0 }

// SplitCookie is the inverse of [GatewayID.Cookie].
func SplitCookie(cookie uint64) (g GatewayID, tag uint16, decision uint32) {
	return GatewayID(cookie >> 48), uint16(cookie >> 32), uint32(cookie) & numberMask
}
