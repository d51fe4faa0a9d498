// Package vsctl reads what an Open vSwitch says of itself: its bridges, their controllers and ports. It
// asks by ovs-vsctl and changes nothing. OVS_RUNDIR in the environment names another Open vSwitch than
// the machine's, as it does for Open vSwitch's own programs.
package vsctl

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Switch is an Open vSwitch. Bridges and what they have are in an order that stays.
type Switch struct {
	Version   string // of the ovs-vsctl that was asked: Open vSwitch's database may not say its own
	VLANLimit int    // other_config:vlan-limit; 1 where that is absent
	Bridges   []Bridge
}

// Bridge is one bridge of it.
type Bridge struct {
	Name        string
	DPID        string   // 16 hex digits; empty where ovs-vswitchd could not make the bridge
	Datapath    string   // system or netdev
	FailMode    string   // standalone or secure
	Protocols   []string // such as OpenFlow13; none: those that Open vSwitch enables by itself
	InBand      bool     // hidden rules for controllers are allowed
	Controllers []Controller
	Ports       []Port // without the bridge's own
}

// Controller is one that a bridge is told to connect to.
type Controller struct {
	Target    string // such as tcp:127.0.0.1:6653
	Mode      string // connection_mode: in-band, out-of-band or empty
	Connected bool   // as the database has it, up to five seconds late
	LastError string // why the last connection failed or ended, in Open vSwitch's words; empty: none did
}

// Port is an interface of a bridge.
type Port struct {
	Name   string
	Type   string // system, internal, patch, ...
	Number int    // in OpenFlow; -1 where the interface can't be used, 0 while that is not known
	Tag    int    // VLAN of an access port; 0: none
	Error  string // why the interface can't be used, in Open vSwitch's words
}

// What is wrong with an Open vSwitch that can't be read.
var (
	ErrNotInstalled = errors.New("there is no ovs-vsctl")
	ErrNotRunning   = errors.New("the database of Open vSwitch does not answer")
	ErrForbidden    = errors.New("this user may not ask Open vSwitch")
)

// timeout of one call of ovs-vsctl.
const timeout = 5 * time.Second

// Read asks for all of it. Its errors are [ErrNotInstalled], [ErrNotRunning], [ErrForbidden], or ovs-vsctl's own words.
func Read(ctx context.Context) (*Switch, error) {
	text, err := call(ctx, "--version")
	if err != nil {
		return nil, err
	}
	s := &Switch{Version: version(string(text))}
	out, err := call(ctx, "--format=json",
		"--", "--columns=other_config", "list", "Open_vSwitch",
		"--", "--columns=name,datapath_id,datapath_type,fail_mode,protocols,other_config,controller,ports", "list", "Bridge",
		"--", "--columns=_uuid,target,connection_mode,is_connected,status", "list", "Controller",
		"--", "--columns=_uuid,interfaces,tag", "list", "Port",
		"--", "--columns=_uuid,name,type,ofport,error", "list", "Interface")
	if err != nil {
		return nil, err
	}
	return s, s.parse(out)
}

// version is the last word of "ovs-vsctl (Open vSwitch) 3.1.0".
func version(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first[strings.LastIndexByte(first, ' ')+1:]
}

func call(ctx context.Context, args ...string) ([]byte, error) {
	program, err := find("ovs-vsctl")
	if err != nil {
		return nil, ErrNotInstalled
	}
	cmd := exec.CommandContext(ctx, program, append([]string{fmt.Sprintf("--timeout=%d", int(timeout.Seconds()))}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	words := strings.TrimSpace(stderr.String())
	switch {
	case strings.Contains(words, "Permission denied"):
		return nil, ErrForbidden
	case strings.Contains(words, "database connection failed"):
		return nil, ErrNotRunning
	}
	return nil, fmt.Errorf("%w: %s", err, words)
}

// find looks where an ordinary user's PATH does not lead on Debian, too.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"} {
		if err == nil {
			return path, nil
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// parse reads ovs-vsctl's five tables.
func (s *Switch) parse(out []byte) error {
	d := json.NewDecoder(bytes.NewReader(out))
	var tables [5][]row
	for i := range tables {
		var t struct {
			Headings []string
			Data     [][]json.RawMessage
		}
		if err := d.Decode(&t); err != nil {
			return fmt.Errorf("ovs-vsctl's table %d: %w", i+1, err)
		}
		for _, values := range t.Data {
			r := row{}
			for k, v := range values {
				if k < len(t.Headings) {
					r[t.Headings[k]] = v
				}
			}
			tables[i] = append(tables[i], r)
		}
	}
	s.VLANLimit = 1
	for _, r := range tables[0] {
		if n, err := strconv.Atoi(r.dict("other_config")["vlan-limit"]); err == nil {
			s.VLANLimit = n
		}
	}
	controllers, ports, interfaces := byID(tables[2]), byID(tables[3]), byID(tables[4])
	for _, r := range tables[1] {
		b := Bridge{Name: r.text("name"), DPID: r.text("datapath_id"), Datapath: r.text("datapath_type"), FailMode: r.text("fail_mode"),
			Protocols: r.list("protocols"), InBand: r.dict("other_config")["disable-in-band"] != "true"}
		if b.Datapath == "" {
			b.Datapath = "system"
		}
		if b.FailMode == "" {
			b.FailMode = "standalone"
		}
		for _, id := range r.list("controller") {
			c := controllers[id]
			b.Controllers = append(b.Controllers, Controller{Target: c.text("target"), Mode: c.text("connection_mode"),
				Connected: c.text("is_connected") == "true", LastError: c.dict("status")["last_error"]})
		}
		for _, id := range r.list("ports") {
			for _, of := range ports[id].list("interfaces") {
				i := interfaces[of]
				p := Port{Name: i.text("name"), Type: i.text("type"), Error: i.text("error")}
				if p.Type == "" {
					p.Type = "system"
				}
				p.Number, _ = strconv.Atoi(i.text("ofport"))
				p.Tag, _ = strconv.Atoi(ports[id].text("tag"))
				if p.Name != b.Name {
					b.Ports = append(b.Ports, p)
				}
			}
		}
		slices.SortFunc(b.Controllers, func(x, y Controller) int { return cmp.Compare(x.Target, y.Target) })
		slices.SortFunc(b.Ports, func(x, y Port) int { return cmp.Or(cmp.Compare(x.Number, y.Number), cmp.Compare(x.Name, y.Name)) })
		s.Bridges = append(s.Bridges, b)
	}
	slices.SortFunc(s.Bridges, func(x, y Bridge) int { return cmp.Compare(x.Name, y.Name) })
	return nil
}

// row is a row of a table; its values are in OVSDB's notation (RFC 7047, 5.1).
type row map[string]json.RawMessage

func byID(rows []row) map[string]row {
	m := make(map[string]row)
	for _, r := range rows {
		m[r.text("_uuid")] = r
	}
	return m
}

// text is a single value; empty for an empty set.
func (r row) text(column string) string {
	if list := r.list(column); len(list) > 0 {
		return list[0]
	}
	return ""
}

// list has a set's values, or the one that is none.
func (r row) list(column string) (list []string) {
	var of []json.RawMessage
	kind, inner := pair(r[column])
	switch {
	case kind == "set" && json.Unmarshal(inner, &of) == nil:
		for _, v := range of {
			list = append(list, atom(v))
		}
	case r[column] != nil:
		list = []string{atom(r[column])}
	}
	return list
}

// dict is a map's values.
func (r row) dict(column string) map[string]string {
	m := make(map[string]string)
	var of [][2]json.RawMessage
	if kind, inner := pair(r[column]); kind == "map" && json.Unmarshal(inner, &of) == nil {
		for _, kv := range of {
			m[atom(kv[0])] = atom(kv[1])
		}
	}
	return m
}

// pair takes ["set", [...]], ["map", [...]] or ["uuid", "..."] apart.
func pair(v json.RawMessage) (kind string, inner json.RawMessage) {
	var two []json.RawMessage
	if json.Unmarshal(v, &two) != nil || len(two) != 2 || json.Unmarshal(two[0], &kind) != nil {
		return "", nil
	}
	return kind, two[1]
}

// atom is a string, number, boolean or UUID as text.
func atom(v json.RawMessage) string {
	if kind, inner := pair(v); kind == "uuid" {
		v = inner
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	return string(v)
}

// RunDir is the folder of Open vSwitch's sockets.
func RunDir() string {
	if dir := os.Getenv("OVS_RUNDIR"); dir != "" {
		return dir
	}
	return "/var/run/openvswitch"
}

// Alive says whether ovs-vswitchd serves a bridge. A database that answers does not: it is another process.
func Alive(bridge string) error {
	conn, err := net.DialTimeout("unix", filepath.Join(RunDir(), bridge+".mgmt"), timeout)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return ErrForbidden
	case err != nil:
		return fmt.Errorf("ovs-vswitchd does not serve bridge %s", bridge)
	}
	return conn.Close()
}

// HasKernelModule says whether this kernel has loaded Open vSwitch's module. Where it is part of the kernel,
// or loaded, /sys/module has its folder.
func HasKernelModule() bool {
	_, err := os.Stat("/sys/module/openvswitch")
	return err == nil
}
