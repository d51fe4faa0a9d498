// Package ovs gives a test an Open vSwitch of its own.
//
// [Start] runs a private ovsdb-server and ovs-vswitchd, with their own database, sockets and logs, and
// ends these two, by process, when the test does. There are two kinds:
//
//   - With root, in a fresh network namespace on the userspace datapath. Bridges get hosts
//     ([Switchd.AddHost]), each in a namespace of its own behind a veth pair, which ping each other and
//     open TCP connections.
//   - Without root, on the dummy datapath ([Options.Dummy]). Bridges get ports ([Switchd.AddPort]) that
//     take frames from the test and record what the switch sends.
//
// The namespaces have no name and no entry under /run/netns: they vanish with the test's process, even
// if it is killed. The machine's own Open vSwitch, bridges and interfaces are never looked at.
//
// A controller under test listens where the private switch can reach it: [Switchd.Listen] and
// [Switchd.ListenUnix]. A controller in a process of its own runs through [Switchd.Command].
//
// [Print] needs no daemon and no privilege: it shows OpenFlow messages as ovs-ofctl understands them.
//
// Limitations: Linux only; IPv4 hosts; the userspace datapath is used even where the kernel's module is
// loaded, so that results are the same everywhere.
package ovs
