package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// List reads a file of one item a line, which n names, as [Column] reads lines. Lines that parse has an error for are reported at their place
// in that file.
func List[T any](f *File, n *Node, where, name string, parse func(string) (T, error)) []T {
	path, body, err := f.Open(name)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		f.Errorf(n, "%s: file %s: %v", where, path, err)
		return nil
	}
	list, errs := items(path, body, parse)
	f.Errs = append(f.Errs, errs...)
	return list
}

// maxFaults is how many lines of a list are said to be wrong. What a server sends in a list's place may have millions, and an error takes a hundred times
// as much as its line.
const maxFaults = 100

// shortest is the length of a line as lists have them.
const shortest = len("1.1.1.1\n")

// items reads the lines of a list. A byte order mark that some editors put first is left out.
func items[T any](path string, body []byte, parse func(string) (T, error)) (list []T, errs Errors) {
	list = make([]T, 0, min(bytes.Count(body, []byte{'\n'}), len(body)/shortest)+1)
	number, first := 0, true
	for line := range strings.Lines(strings.TrimPrefix(string(body), "\ufeff")) {
		number++
		text := uncommented(line)
		if text == "" || first && header(text) {
			first = first && text == ""
			continue
		}
		first = false
		word, err := Column(text)
		if err == nil && word == "" {
			continue
		}
		var v T
		if err == nil {
			v, err = parse(word)
		}
		if err != nil {
			errs = append(errs, &Error{File: path, Line: number, Msg: err.Error()})
			if len(errs) == maxFaults {
				return nil, append(errs, &Error{File: path, Line: number + 1, Msg: "from here on it is not read, since so many lines before are wrong"})
			}
			continue
		}
		list = append(list, v)
	}
	return list, errs
}

// uncommented returns a line of a list without its comment, as lists of all makers have them: after #, ; or //, or all of a line that
// begins with !.
func uncommented(line string) string {
	for _, mark := range []string{"#", ";", "//"} {
		line, _, _ = strings.Cut(line, mark)
	}
	if line = strings.TrimSpace(line); strings.HasPrefix(line, "!") {
		return ""
	}
	return line
}

// header reports whether a list's first line has the names of columns.
func header(line string) bool {
	first, _, isTable := strings.Cut(line, ",")
	return isTable && slices.Contains([]string{"ip", "ip_address", "ipaddress", "ip address", "address", "addr", "cidr", "network", "prefix", "subnet", "netblock",
		"src_ip", "dst_ip", "mac", "mac_address", "mac address", "ethernet"}, strings.ToLower(strings.Trim(strings.TrimSpace(first), `"`)))
}

// Column returns what a line of a list is about, which has no comment any more: its first column, where others are parted from it by commas (CSV), or
// are a number (how many report it, as IPsum writes), or names of hosts, as in /etc/hosts and /etc/ethers. It is empty for the lines about itself that each
// hosts file has.
func Column(line string) (string, error) {
	if first, _, isTable := strings.Cut(line, ","); isTable {
		first = strings.TrimSpace(first)
		if unquoted, ok := strings.CutPrefix(first, `"`); ok {
			if first, ok = strings.CutSuffix(unquoted, `"`); !ok {
				return "", fmt.Errorf("%.40q: want the first column between two quotes, or without any", line)
			}
		}
		return first, nil
	}
	words := strings.Fields(line)
	if len(words) == 1 {
		return strings.Trim(words[0], `"`), nil
	}
	if _, err := strconv.ParseUint(words[1], 10, 32); err == nil && len(words) == 2 {
		return words[0], nil
	}
	own := true
	for _, name := range words[1:] {
		own = own && slices.Contains(ownNames, name)
		if !hostName(name) && !own {
			return "", fmt.Errorf("%.40q: want one address a line, and nothing behind it but names of hosts, a number, or further columns after a comma", line)
		}
	}
	a, err := netip.ParseAddr(words[0])
	switch {
	case err != nil:
	case own:
		return "", nil
	case a.IsLoopback() || a.IsUnspecified():
		return "", fmt.Errorf("%.40q: this line of a hosts file blocks a name: want lists of addresses, since packets show no names", line)
	}
	return words[0], nil
}

// ownNames are those that every hosts file has for the host itself.
var ownNames = []string{"localhost", "localhost.localdomain", "localhost4", "localhost6", "local", "broadcasthost", "ip6-localhost", "ip6-loopback", "ip6-localnet",
	"ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts", "0.0.0.0"}

// hostName takes a name with or without dots, and no address.
func hostName(s string) bool {
	return IsName(strings.TrimSuffix(s, ".") + ".")
}

// Lists are the keys addresses (items in the policy itself), files (names of files with one item a line) and urls (the same from elsewhere), of a kind
// that decides by such lists: its name is where, item reads one in the policy and line one of a list. of says which items the members of a group
// are, or why they are none; nil where names and groups can't be items. Call each after the mapping is read: it hands over the list in the policy, if it has any,
// under an empty name, and then those of files and URLs in their order.
func Lists[T any](f *File, where string, item, line func(string) (T, error), of func(*Group) ([]T, error)) (keys []Field, each func(add func(name string, items []T))) {
	type list struct {
		name  string
		items []T
	}
	var inline []T
	var named, fetched []list
	keys = []Field{
		Key("addresses", func(n *Node) {
			for i, a := range f.Sequence(n, where+": addresses") {
				where := fmt.Sprintf("%s: address %d", where, i+1)
				if g, known := f.hosts(a, where); known {
					some, err := of(g)
					if err != nil {
						f.Errorf(a, "%s: %s: %v", where, a.Value, err)
					}
					inline = append(inline, some...)
				} else if g == nil {
					if v, ok := Parsed(f, a, where, item); ok {
						inline = append(inline, v)
					}
				}
			}
		}),
		Key("files", func(n *Node) {
			for _, a := range f.Sequence(n, where+": files") {
				if name, ok := f.Scalar(a, where+": files"); ok {
					named = append(named, list{name, List(f, a, where, name, line)})
				}
			}
		}),
		Key("urls", func(n *Node) {
			for _, a := range f.Sequence(n, where+": urls") {
				l, ok := f.byURL(a, where+": urls")
				if !ok {
					continue
				}
				l.Check = func(body []byte) error {
					list, errs := items(l.URL, body, line)
					switch {
					case len(errs) > 0:
						return errs[0]
					case len(list) == 0:
						return fmt.Errorf("%s: the list is empty", l.URL)
					}
					return nil
				}
				if f.Look == nil {
					f.Errorf(a, "%s: urls: lists are not fetched here: give it as a file", where)
					continue
				}
				body, err := f.Look(&l)
				if err != nil {
					f.Errorf(a, "%s: urls: %v", where, err)
					continue
				}
				list1, errs := items(l.URL, body, line)
				f.Errs = append(f.Errs, errs...)
				fetched = append(fetched, list{l.URL, list1})
			}
		}),
	}
	return keys, func(add func(name string, items []T)) {
		if len(inline) > 0 {
			add("", inline)
		}
		for _, l := range slices.Concat(named, fetched) {
			add(l.name, l.items)
		}
	}
}

// hosts returns the group that an item of a list names, or a name's addresses as one. known is false where it is neither, and, with a group, where
// it says what is wrong.
func (f *File) hosts(n *Node, where string) (g *Group, known bool) {
	if n.Shape != Scalar {
		return nil, false
	}
	if g := f.groups[n.Value]; g != nil {
		return g, true
	}
	if !IsName(n.Value) {
		return nil, false
	}
	list, err := f.Addresses(n.Value)
	if err != nil {
		f.Errorf(n, "%s: %v", where, err)
		return &Group{}, false
	}
	return &Group{Prefixes: list}, true
}
