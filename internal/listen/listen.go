// Package listen opens the places that the gateway and the functions are reached at.
package listen

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
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

// CheckHostPort says what is wrong with HOST:PORT to listen at, as far as the text
// goes. An empty host is all addresses, and port 0 any that is free.
func CheckHostPort(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("address %s: port %q: want a number up to 65535", address, port)
	}
	if host == "" {
		return nil
	}
	if err := CheckHost(host); err != nil {
		return fmt.Errorf("address %s: %w", address, err)
	}
	return nil
}

// CheckTarget says what is wrong with HOST:PORT to connect to.
func CheckTarget(address string) error {
	if err := CheckHostPort(address); err != nil {
		return err
	}
	switch host, port, _ := net.SplitHostPort(address); {
	case host == "":
		return fmt.Errorf("address %s: want a host to connect to", address)
	case strings.Trim(port, "0") == "":
		return fmt.Errorf("address %s: want a port to connect to, from 1", address)
	}
	return nil
}

// CheckHost says what is wrong with a host's name or address. It looks nothing up.
func CheckHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	const letters = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.Trim(label, letters) != "" {
			return fmt.Errorf("host %q: want an address, or a name of letters, digits, dots and hyphens", host)
		}
	}
	if strings.Trim(host, "0123456789.") == "" {
		return fmt.Errorf("host %q: want four numbers up to 255", host)
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
