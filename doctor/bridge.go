package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"switchbridge/flow"
	"switchbridge/internal/listen"
	"switchbridge/internal/vsctl"
	"switchbridge/settings"
)

// openvswitch looks at Open vSwitch and the bridges that the gateway is for, and returns these.
func (r *report) openvswitch(ctx context.Context) []vsctl.Bridge {
	const area = "Open vSwitch"
	sw, err := vsctl.Read(ctx)
	switch {
	case err != nil && r.elsewhere():
		r.add(area, Note, "none on this machine that can be asked: the switches are elsewhere")
		return nil
	case errors.Is(err, vsctl.ErrNotInstalled):
		r.add(area, Fault, "it is not installed", "apt install openvswitch-switch")
		return nil
	case errors.Is(err, vsctl.ErrNotRunning):
		r.add(area, Fault, "its database does not answer: it is not running", "service openvswitch-switch start")
		return nil
	case errors.Is(err, vsctl.ErrForbidden):
		r.add(area, Fault, "this user may not ask it", "sudo switchbridge doctor ...")
		return nil
	case err != nil:
		r.add(area, Fault, err.Error())
		return nil
	}
	r.add(area, Good, "version "+sw.Version)
	if r.Settings != nil && sw.VLANLimit != int(r.Settings.OpenFlow.VLANLimit) {
		r.add(area, Warning, fmt.Sprintf("it looks behind %d VLAN tags of a frame (other_config:vlan-limit), and the gateway believes %d (openflow.vlan_limit)",
			sw.VLANLimit, r.Settings.OpenFlow.VLANLimit), fmt.Sprintf("ovs-vsctl set Open_vSwitch . other_config:vlan-limit=%d", r.Settings.OpenFlow.VLANLimit))
	}
	bridges := r.chosen(sw)
	for i := range bridges {
		r.bridge(ctx, &bridges[i])
	}
	return bridges
}

// elsewhere reports whether the gateway is there for switches of other machines.
func (r *report) elsewhere() bool {
	if r.Settings == nil || len(r.Bridges) > 0 {
		return false
	}
	for _, l := range r.Settings.OpenFlow.Listen {
		if l.Network == "tcp" && !listen.Loopback(l.Address) {
			return true
		}
	}
	return len(r.Settings.P4.Switches) > 0
}

// chosen are the bridges to look at.
func (r *report) chosen(sw *vsctl.Switch) (chosen []vsctl.Bridge) {
	const area = "bridges"
	for _, name := range r.Bridges {
		if i := slices.IndexFunc(sw.Bridges, func(b vsctl.Bridge) bool { return b.Name == name }); i >= 0 {
			chosen = append(chosen, sw.Bridges[i])
		} else {
			r.add("bridge "+name, Fault, "there is no such bridge", vsctl.AddBridge(name))
		}
	}
	if len(r.Bridges) > 0 {
		return chosen
	}
	for _, b := range sw.Bridges {
		if len(sw.Bridges) == 1 || slices.ContainsFunc(b.Controllers, func(c vsctl.Controller) bool { return r.ours(c.Target) }) {
			chosen = append(chosen, b)
		}
	}
	var names []string
	for _, b := range sw.Bridges {
		names = append(names, b.Name)
	}
	switch {
	case len(chosen) > 0:
	case r.elsewhere():
		r.add(area, Note, "none of this machine connects to the gateway")
	case len(names) == 0:
		r.add(area, Fault, "Open vSwitch has no bridge", vsctl.AddBridge("br0"))
	default:
		r.add(area, Fault, "none of "+strings.Join(names, ", ")+" connects to the gateway", vsctl.HandOver(names[0], r.target()))
	}
	return chosen
}

// target is where the gateway's first listener is.
func (r *report) target() string {
	set := r.Settings
	if set == nil || len(set.OpenFlow.Listen) == 0 {
		set = settings.Default()
	}
	return set.OpenFlow.Listen[0].Target()
}

// ours reports whether the gateway listens at a bridge's target.
func (r *report) ours(target string) bool {
	if r.Settings == nil {
		return target == r.target()
	}
	return slices.ContainsFunc(r.Settings.OpenFlow.Listen, func(l settings.Listen) bool { return l.Takes(target) })
}

// bridge looks at how one is set.
func (r *report) bridge(ctx context.Context, b *vsctl.Bridge) {
	area, name, before := "bridge "+b.Name, vsctl.Quoted(b.Name), len(r.list)
	set := func(what string) string { return "ovs-vsctl set bridge " + name + " " + what }
	if b.Datapath == "system" && !vsctl.HasKernelModule() {
		r.add(area, Fault, "it is to forward in the kernel, and this kernel has not loaded Open vSwitch's module: nothing is forwarded",
			"modprobe openvswitch", set("datapath_type=netdev")+"     # instead, where there is no module: in userspace")
	}
	switch err := vsctl.Alive(b.Name); {
	case errors.Is(err, vsctl.ErrForbidden):
		r.add(area, Note, "whether ovs-vswitchd serves it can't be seen by this user")
	case err != nil && (b.Datapath != "system" || vsctl.HasKernelModule()):
		r.add(area, Fault, err.Error()+": it is not running, or could not make the bridge (its log says why)", "service openvswitch-switch restart")
	}
	if b.FailMode != "secure" && slices.ContainsFunc(b.Controllers, func(c vsctl.Controller) bool { return r.ours(c.Target) }) { // or the line that hands it over sets this, too
		r.add(area, Fault, "its fail mode is standalone: it forwards everything by itself when it has lost the gateway", "ovs-vsctl set-fail-mode "+name+" secure")
	}
	if r.Settings != nil {
		r.protocols(area, b)
	}
	r.controllers(area, b)
	for _, p := range b.Ports {
		if p.Error != "" {
			r.add(area, Fault, fmt.Sprintf("its port %s can't be used: %s", p.Name, p.Error), "ovs-vsctl del-port "+name+" "+vsctl.Quoted(p.Name))
		}
	}
	if b.Datapath == "netdev" {
		r.offload(ctx, area, b)
	}
	if !slices.ContainsFunc(r.list[before:], func(f Finding) bool { return f.Level == Fault || f.Level == Warning }) {
		r.add(area, Good, fmt.Sprintf("datapath %s, fail mode secure, %s", b.Datapath, ports(len(b.Ports))))
	}
}

func ports(n int) string { return count(n, "port") }

// protocols compares the versions that a bridge speaks with the gateway's.
func (r *report) protocols(area string, b *vsctl.Bridge) {
	if len(b.Protocols) == 0 {
		return // 1.0 and 1.3 are among those that Open vSwitch enables by itself
	}
	var offered []string
	for _, v := range r.Settings.OpenFlow.Versions {
		name := "OpenFlow10"
		if flow.Protocol(v) == flow.OpenFlow13 {
			name = "OpenFlow13"
		}
		if slices.Contains(b.Protocols, name) {
			return
		}
		offered = append(offered, name)
	}
	r.add(area, Fault, fmt.Sprintf("it speaks %s alone, and the gateway does not", strings.Join(b.Protocols, ", ")),
		fmt.Sprintf("ovs-vsctl set bridge %s protocols=%s", vsctl.Quoted(b.Name), strings.Join(offered, ",")))
}

// controllers looks at whom a bridge connects to.
func (r *report) controllers(area string, b *vsctl.Bridge) {
	var others []string
	var ours int
	inBand := false
	for _, c := range b.Controllers {
		if r.ours(c.Target) {
			ours++
		} else {
			others = append(others, c.Target)
		}
		scheme, _, _ := strings.Cut(c.Target, ":")
		inBand = inBand || c.Mode != "out-of-band" && (scheme == "tcp" || scheme == "ssl")
	}
	if b.InBand && inBand {
		r.add(area, Fault, "Open vSwitch has hidden rules in it that let traffic to and from the controller's address past the policy (in-band control)",
			"ovs-vsctl set bridge "+vsctl.Quoted(b.Name)+" other-config:disable-in-band=true")
	}
	switch {
	case ours == 0 && len(others) == 0:
		r.add(area, Fault, "it has no controller", vsctl.HandOver(b.Name, r.target()))
	case ours == 0:
		r.add(area, Fault, fmt.Sprintf("it connects to %s, where this gateway does not listen", strings.Join(others, ", ")), vsctl.HandOver(b.Name, r.target()))
	case len(others) > 0 && r.Settings != nil && r.Settings.Pair.On() && len(others) == 1:
	case len(others) > 0:
		r.add(area, Warning, fmt.Sprintf("it also connects to %s, which may install rules of its own above the policy's", strings.Join(others, ", ")),
			fmt.Sprintf("ovs-vsctl set-controller %s %s", vsctl.Quoted(b.Name), vsctl.Quoted(r.target())))
	}
}
