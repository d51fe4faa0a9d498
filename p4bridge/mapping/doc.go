// Package mapping says how the nouns of flow read in a particular P4 program:
// which P4 table holds the rules of an OpenFlow table, which of its keys is
// which header field, and which P4 action a list of flow actions becomes.
//
// A mapping is a YAML file ([Parse]); bound to a program's P4Info ([File.Bind])
// it has been checked against it: every name exists, every width fits. The
// mapping for the program of this repository is [Default].
//
// Two things of OpenFlow can't be had from every P4 table and are refused by
// name rather than approximated: a mask on a key that is compared exactly, and
// a list of actions for which the program has no single action.
package mapping
