package isolate

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// smallBuffer gives a connection that will not read little room for what it does
// not read.
func smallBuffer(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	if err != nil {
		return err
	}
	return failed
}
