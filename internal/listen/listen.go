// Package listen opens the places that the gateway and the functions are reached at.
package listen

import (
	"fmt"
	"io/fs"
	"net"
	"os"
)

// Open is net.Listen. A unix socket that nobody listens at any more, such as a killed process
// leaves behind, is replaced, and nothing else: a file that is no socket, or one in use, makes it
// fail.
func Open(network, address string) (net.Listener, error) {
	if network == "unix" {
		removeStale(address)
	}
	return net.Listen(network, address)
}

func removeStale(path string) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return
	}
	os.Remove(path)
}

// CheckHostPort says what is wrong with HOST:PORT, as far as the text goes.
func CheckHostPort(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return CheckPort(address, port)
}

// CheckPort says what is wrong with the port of an address.
func CheckPort(address, port string) error {
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("address %s: port %q: want a number up to 65535", address, port)
	}
	return nil
}

// Loopback reports whether HOST:PORT is reached from this machine alone.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
