package ofp

import (
	"fmt"
	"strings"

	"switchbridge/flow"
)

// Types and codes of errors that have the same number in 1.0 and in 1.3
// (OpenFlow 1.3.5, 7.5.4).
const (
	ErrHelloFailed = 0 // OFPET_HELLO_FAILED
	ErrBadRequest  = 1
	ErrBadAction   = 2

	HelloIncompatible = 0 // OFPHFC_INCOMPATIBLE
	HelloEperm        = 1

	BadRequestVersion       = 0 // OFPBRC_BAD_VERSION
	BadRequestType          = 1
	BadRequestStats         = 2
	BadRequestEperm         = 5
	BadRequestLen           = 6
	BadRequestBufferEmpty   = 7
	BadRequestBufferUnknown = 8
)

// errorNames lists a version's error types in the order of their numbers: the
// type's name, a colon, and its codes in the order of theirs.
var (
	errorNames10 = [...]string{
		"HELLO_FAILED: INCOMPATIBLE EPERM",
		"BAD_REQUEST: BAD_VERSION BAD_TYPE BAD_STAT BAD_VENDOR BAD_SUBTYPE EPERM BAD_LEN BUFFER_EMPTY BUFFER_UNKNOWN",
		"BAD_ACTION: BAD_TYPE BAD_LEN BAD_VENDOR BAD_VENDOR_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY BAD_QUEUE",
		"FLOW_MOD_FAILED: ALL_TABLES_FULL OVERLAP EPERM BAD_EMERG_TIMEOUT BAD_COMMAND UNSUPPORTED",
		"PORT_MOD_FAILED: BAD_PORT BAD_HW_ADDR",
		"QUEUE_OP_FAILED: BAD_PORT BAD_QUEUE EPERM",
	}
	errorNames13 = [...]string{
		"HELLO_FAILED: INCOMPATIBLE EPERM",
		"BAD_REQUEST: BAD_VERSION BAD_TYPE BAD_MULTIPART BAD_EXPERIMENTER BAD_EXP_TYPE EPERM BAD_LEN BUFFER_EMPTY BUFFER_UNKNOWN BAD_TABLE_ID IS_SLAVE BAD_PORT BAD_PACKET MULTIPART_BUFFER_OVERFLOW",
		"BAD_ACTION: BAD_TYPE BAD_LEN BAD_EXPERIMENTER BAD_EXP_TYPE BAD_OUT_PORT BAD_ARGUMENT EPERM TOO_MANY BAD_QUEUE BAD_OUT_GROUP MATCH_INCONSISTENT UNSUPPORTED_ORDER BAD_TAG BAD_SET_TYPE BAD_SET_LEN BAD_SET_ARGUMENT",
		"BAD_INSTRUCTION: UNKNOWN_INST UNSUP_INST BAD_TABLE_ID UNSUP_METADATA UNSUP_METADATA_MASK BAD_EXPERIMENTER BAD_EXP_TYPE BAD_LEN EPERM",
		"BAD_MATCH: BAD_TYPE BAD_LEN BAD_TAG BAD_DL_ADDR_MASK BAD_NW_ADDR_MASK BAD_WILDCARDS BAD_FIELD BAD_VALUE BAD_MASK BAD_PREREQ DUP_FIELD EPERM",
		"FLOW_MOD_FAILED: UNKNOWN TABLE_FULL BAD_TABLE_ID OVERLAP EPERM BAD_TIMEOUT BAD_COMMAND BAD_FLAGS",
		"GROUP_MOD_FAILED: GROUP_EXISTS INVALID_GROUP WEIGHT_UNSUPPORTED OUT_OF_GROUPS OUT_OF_BUCKETS CHAINING_UNSUPPORTED WATCH_UNSUPPORTED LOOP UNKNOWN_GROUP CHAINED_GROUP BAD_TYPE BAD_COMMAND BAD_BUCKET BAD_WATCH EPERM",
		"PORT_MOD_FAILED: BAD_PORT BAD_HW_ADDR BAD_CONFIG BAD_ADVERTISE EPERM",
		"TABLE_MOD_FAILED: BAD_TABLE BAD_CONFIG EPERM",
		"QUEUE_OP_FAILED: BAD_PORT BAD_QUEUE EPERM",
		"SWITCH_CONFIG_FAILED: BAD_FLAGS BAD_LEN EPERM",
		"ROLE_REQUEST_FAILED: STALE UNSUP BAD_ROLE",
		"METER_MOD_FAILED: UNKNOWN METER_EXISTS INVALID_METER UNKNOWN_METER BAD_COMMAND BAD_FLAGS BAD_RATE BAD_BURST BAD_BAND BAD_BAND_TYPE OUT_OF_METERS OUT_OF_BANDS",
		"TABLE_FEATURES_FAILED: BAD_TABLE BAD_METADATA BAD_TYPE BAD_LEN BAD_ARGUMENT EPERM",
	}
)

// KnownError reports whether an error's type and code have names in the
// version.
func KnownError(v flow.Protocol, typ, code uint16) bool {
	names := errorNames13[:]
	if v == flow.OpenFlow10 {
		names = errorNames10[:]
	}
	if int(typ) >= len(names) {
		return false
	}
	_, list, _ := strings.Cut(names[typ], ": ")
	return int(code) <= strings.Count(list, " ")
}

// ErrorName returns the name that the version gives an error, such as
// "BAD_MATCH: BAD_PREREQ". A type or code without a name is a number.
func ErrorName(v flow.Protocol, typ, code uint16) string {
	names := errorNames13[:]
	if v == flow.OpenFlow10 {
		names = errorNames10[:]
	}
	if int(typ) >= len(names) {
		return fmt.Sprintf("type %d: code %d", typ, code)
	}
	name, list, _ := strings.Cut(names[typ], ": ")
	codes := strings.Fields(list)
	if int(code) >= len(codes) {
		return fmt.Sprintf("%s: code %d", name, code)
	}
	return name + ": " + codes[code]
}
