package ofproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// sessionError ends a session. Its cause is a stable token, counted; the error
// is for people.
type sessionError struct {
	cause string
	err   error
}

func (e *sessionError) Error() string { return e.err.Error() }
func (e *sessionError) Unwrap() error { return e.err }

func endf(cause, format string, args ...any) error {
	return &sessionError{cause: cause, err: fmt.Errorf(format, args...)}
}

var errShutdown = &sessionError{cause: "shutdown", err: errors.New("the gateway is shutting down")}

// causeOf returns the token that says why a session ended.
func causeOf(err error) string {
	var se *sessionError
	switch {
	case errors.As(err, &se):
		return se.cause
	case errors.Is(err, errFraming):
		return "framing"
	case errors.Is(err, errSlowReader):
		return "slow_reader"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed_by_switch"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset_by_switch"
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "closed"
	}
	return "io"
}

// inWords replaces the system's errors by what they mean for a connection to a
// switch.
func inWords(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the switch reset the connection: it was restarted, or was told of another controller (%w)", err)
	case errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the switch had closed the connection (%w)", err)
	}
	return err
}

// Records of TLS (RFC 8446, 5.1) begin with their type, handshake, and a
// version from 3.0 on; no OpenFlow has version 22.
const tlsHandshake = 22

// foreign returns the name of the protocol that a connection's first bytes belong
// to, or an empty string if they may be OpenFlow.
func foreign(first []byte) string {
	switch {
	case len(first) > 1 && first[0] == tlsHandshake && first[1] == 3:
		return "the switch speaks TLS, and this listener doesn't: tell the switch tcp:, or have the gateway listen at ssl:"
	case bytes.HasPrefix(first, []byte("GET ")), bytes.HasPrefix(first, []byte("POST")), bytes.HasPrefix(first, []byte("HEAD")):
		return "who connected speaks HTTP, and this is a listener for switches"
	}
	return ""
}
