// Package pipeline reads a P4 program's description (P4Info) together with its
// compiled form, checks that they belong together, and answers questions about
// tables, actions, digests and packet headers by name.
//
// Names are those of P4Info: the full name ("switch_ingress.flow") or the alias
// ("flow"). Nothing here speaks to a switch.
package pipeline
