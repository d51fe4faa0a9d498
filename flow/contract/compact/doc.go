// Package compact is how a host in this process asks our own guest about a packet: the headers
// that were found in it instead of the packet, and the decision's rules in the same form, in
// places that are known beforehand. To parse a PACKET_IN and to write FLOW_MODs takes a guest
// longer than to decide; this takes it a tenth of that.
//
// Nothing of it crosses a network: both ends are built from the same source, the guest says by an
// export that it has it, and whatever does not fit is asked again in application/openflow.
//
// docs/guest-abi.md has the layout, under "The compact encoding": tables of every place and bit,
// which a test holds against this package. Numbers are little-endian, WebAssembly's order;
// addresses are in the network's.
package compact
