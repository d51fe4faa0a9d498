package main

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// wire is an interface's frames, by a packet socket.
type wire struct {
	fd     int
	frames chan []byte
	stop   chan struct{}
	done   sync.WaitGroup
}

func openWire(name string) (*wire, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return nil, err
	}
	w := &wire{fd: fd, frames: make(chan []byte, 256), stop: make(chan struct{})}
	// The timeout is how long closing may take.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	w.done.Go(w.read)
	return w, nil
}

func (w *wire) read() {
	defer close(w.frames)
	buf := make([]byte, 1<<16)
	for {
		select {
		case <-w.stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(w.fd, buf, 0)
		switch ll, ok := from.(*unix.SockaddrLinklayer); {
		case err == unix.EAGAIN || err == unix.EINTR || ok && ll.Pkttype == unix.PACKET_OUTGOING: // what this end sent
			continue
		case err != nil:
			return
		}
		select {
		case w.frames <- append([]byte(nil), buf[:n]...):
		default: // nobody reads
		}
	}
}

func (w *wire) Send(frame []byte) error {
	_, err := unix.Write(w.fd, frame)
	return err
}

func (w *wire) Frames() <-chan []byte { return w.frames }

func (w *wire) Close() {
	close(w.stop)
	w.done.Wait()
	unix.Close(w.fd)
}
