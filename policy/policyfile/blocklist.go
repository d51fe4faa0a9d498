package policyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"switchbridge/policy"
	"switchbridge/policy/blocklist"
)

func (d *decoder) blocklist(n *yaml.Node) policy.Source {
	c := &blocklist.Config{}
	var inline blocklist.List
	d.mapping(n, "blocklist", []key{
		{"match", func(n *yaml.Node) { c.Match, _ = parsed(d, n, "blocklist: match", blocklist.ParseDirection) }},
		{"addresses", func(n *yaml.Node) {
			for i, a := range d.sequence(n, "blocklist: addresses") {
				if p, ok := parsed(d, a, fmt.Sprintf("blocklist: address %d", i+1), parsePrefix); ok {
					inline.Prefixes = append(inline.Prefixes, p)
				}
			}
		}},
		{"files", func(n *yaml.Node) {
			for _, f := range d.sequence(n, "blocklist: files") {
				if name, ok := d.scalar(f, "blocklist: files"); ok {
					c.Lists = append(c.Lists, blocklist.List{Name: name, Prefixes: d.list(f, name)})
				}
			}
		}},
	})
	if len(inline.Prefixes) > 0 {
		c.Lists = append([]blocklist.List{inline}, c.Lists...)
	}
	return c
}

// list reads a file of one address or prefix a line. What follows a # is a
// comment, and a number after the address (how many feeds list it, as IPsum
// writes) is ignored.
func (d *decoder) list(n *yaml.Node, name string) (list []netip.Prefix) {
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.dir, path)
	}
	d.files = append(d.files, path)
	f, modified, err := d.open(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		d.errorf(n, "blocklist: file %s: %v", path, err)
		return nil
	}
	defer f.Close()
	body, err := readAll(f, MaxList)
	if err != nil {
		d.errorf(n, "blocklist: file %s: %v", path, err)
		return nil
	}
	if modified.After(d.newest) {
		d.newest = modified
	}
	d.hash(body)
	list = make([]netip.Prefix, 0, bytes.Count(body, []byte{'\n'})+1)
	number := 0
	for line := range strings.Lines(string(body)) {
		number++
		text, _, _ := strings.Cut(line, "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		p, err := parsePrefix(words[0])
		if err == nil && len(words) > 1 {
			if _, numErr := strconv.ParseUint(words[1], 10, 32); numErr != nil || len(words) > 2 {
				err = fmt.Errorf("%.40q: want one address a line", strings.TrimSpace(text))
			}
		}
		if err != nil {
			d.errs = append(d.errs, &Error{File: path, Line: number, Msg: err.Error()})
			continue
		}
		list = append(list, p)
	}
	return list
}

// parsePrefix reads an address or a prefix without bits beyond its length.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%.60q is not an address or prefix, such as 10.0.0.1, 10.0.0.0/8 or 2001:db8::/32", s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: write %s, or the address alone", p, p.Masked())
	}
	return p, nil
}
