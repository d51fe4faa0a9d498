package listen_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"switchbridge/internal/listen"
)

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Open("unix", path); err == nil {
		t.Fatal("a socket in use was taken")
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, err = listen.Open("unix", path); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestFileIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen.Open("unix", path); err == nil {
		t.Error("a file was listened at")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "data" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "localhost:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "192.0.2.1:80": false, "example.org:80": false, "127.0.0.1": false, "": false,
	} {
		if listen.Loopback(address) != want {
			t.Errorf("%q: want %t", address, want)
		}
	}
}
