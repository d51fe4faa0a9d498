package flow

import "time"

// Entry is a P4 table entry that a controller names directly, in the terms of
// the switch's P4Info, for a program that no mapping of OpenFlow's terms covers.
// Guardrails know nothing of such tables, so a session takes Entries only where
// its configuration says so, and an OpenFlow session never.
//
// Values are written as a person would: decimal or 0x numbers, IP and MAC
// addresses; a key may also be value/mask, address/prefix or low..high,
// whatever its match kind wants.
type Entry struct {
	Table       string // name or alias in P4Info
	Match       map[string]string
	Priority    int32 // above 0 where the table has ternary, range or optional keys, else 0
	Action      string
	Params      map[string]string
	IdleTimeout time.Duration // 0 is never
	HardTimeout time.Duration // the gateway's to keep; 0 is the session's default
}
