// Package propose reads what p4c made of a P4 program for BMv2 and proposes a
// mapping for it: which table holds rules, which key is which header field, which
// action does what, and how the program asks.
//
// Most of that stands in the compiled program. The parser says which bits of a
// packet a header's field is, since it chooses the next header by EtherType and
// protocol. What an action does to a packet is found by following the packet: for
// each kind of packet that the parser tells apart, the program is carried out with
// the values that are known, and both ways where they are not. An action "drops"
// if no such packet leaves the switch, whatever the action is called. What can't be
// found so is guessed by names and widths, and each guess is marked.
//
// Two things are not followed: registers, whose contents nobody knows beforehand,
// and states of a parser that are met more often than its longest array of headers is long.
package propose
