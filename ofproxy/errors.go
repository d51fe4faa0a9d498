package ofproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
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

// causeOf returns the token of why a session ended.
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
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return "closed"
	}
	return "io"
}
