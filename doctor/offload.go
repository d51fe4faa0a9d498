package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"switchbridge/internal/vsctl"
)

// link is a network interface as "ip -j link" shows it.
type link struct {
	Index  int    `json:"ifindex"`
	Name   string `json:"ifname"`
	Peer   int    `json:"link_index"` // of a veth pair's other end, in that one's namespace
	Beside string `json:"link"`       // its name instead, where that namespace is the same
}

// namespace is a network namespace, and how a command gets into it.
type namespace struct{ path, name string } // both empty: this process's

func (n namespace) command(words ...string) []string {
	switch {
	case n.name != "":
		return append([]string{"ip", "netns", "exec", n.name}, words...)
	case n.path != "":
		return append([]string{"nsenter", "--net=" + n.path}, words...)
	}
	return words
}

// maxNamespaces bounds how many are looked into.
const maxNamespaces = 256

// offload looks at the other ends of a userspace bridge's veth pairs. Over such a pair the kernel leaves the
// checksums of TCP and UDP to a card that is not there, and the userspace datapath passes them on as they
// are: ping works, and TCP does not.
func (r *report) offload(ctx context.Context, area string, b *vsctl.Bridge) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	here, err := veths(ctx, namespace{})
	if err != nil {
		r.add(area, Note, "the checksum offload of its ports can't be looked at: "+err.Error())
		return
	}
	wanted := map[int]link{} // by the index of the bridge's end
	for _, l := range here {
		if slices.ContainsFunc(b.Ports, func(p vsctl.Port) bool { return p.Name == l.Name && p.Type == "system" }) {
			wanted[l.Index] = l
		}
	}
	for _, ns := range namespaces() {
		if len(wanted) == 0 {
			return
		}
		links := here
		if ns.path != "" {
			if links, err = veths(ctx, ns); err != nil {
				continue // it has gone, or is not this user's
			}
		}
		for _, l := range links {
			end, ok := wanted[l.Peer]
			if !ok || end.Peer != l.Index || ns.path == "" && end.Name == l.Name {
				continue
			}
			delete(wanted, end.Index)
			if on, err := offloads(ctx, ns, l.Name); err == nil && on {
				r.add(area, Fault, fmt.Sprintf("the host behind its port %s (interface %s) leaves checksums to a network card, but there is none: ping works, TCP and UDP don't", end.Name, l.Name),
					mend(ns, l.Name))
			}
		}
	}
	for _, l := range here {
		if _, left := wanted[l.Index]; left {
			r.add(area, Note, fmt.Sprintf("the other end of its port %s is in a namespace that can't be seen from here; if ping works behind it and TCP does not, switch off its checksum offload there (ethtool -K INTERFACE tx off)", l.Name))
		}
	}
}

// mend is the line that has checksums computed. Whoever is root in a container gives the interface there its name, such as $(reboot).
func mend(ns namespace, name string) string {
	return vsctl.Line(ns.command("ethtool", "-K", name, "tx", "off")...)
}

// namespaces are this process's, then those with names, then those of processes.
func namespaces() []namespace {
	list := []namespace{{}}
	seen := map[uint64]bool{}
	first := func(path string) bool {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || seen[st.Ino] || len(list) >= maxNamespaces {
			return false
		}
		seen[st.Ino] = true
		return true
	}
	first("/proc/self/ns/net")
	named, _ := filepath.Glob("/run/netns/*")
	for _, path := range named {
		if first(path) {
			list = append(list, namespace{path, filepath.Base(path)})
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, path := range processes {
		if first(path) {
			list = append(list, namespace{path: path})
		}
	}
	return list
}

// veths are the ends of veth pairs that are in a namespace.
func veths(ctx context.Context, ns namespace) (list []link, err error) {
	out, err := output(ctx, ns.command("ip", "-j", "link", "show", "type", "veth"))
	if err != nil || len(strings.TrimSpace(string(out))) == 0 {
		return nil, err
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, fmt.Errorf("ip -j link: %w", err)
	}
	for i := range list {
		for k := range list {
			if list[k].Name == list[i].Beside {
				list[i].Peer = list[k].Index
			}
		}
	}
	return list, nil
}

// offloads reports whether an interface leaves checksums to its card.
func offloads(ctx context.Context, ns namespace, name string) (bool, error) {
	out, err := output(ctx, ns.command("ethtool", "-k", name))
	return strings.Contains(string(out), "\ntx-checksumming: on"), err
}

func output(ctx context.Context, words []string) ([]byte, error) {
	program, err := exec.LookPath(words[0])
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			program, err = exec.LookPath(filepath.Join(dir, words[0]))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("there is no program %s", words[0])
	}
	out, err := exec.CommandContext(ctx, program, words[1:]...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %s", strings.Join(words, " "), strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
