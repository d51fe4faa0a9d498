// Package mapping translates between the types of package flow and one P4
// program: which P4 table has the rules of an OpenFlow table, which of its keys
// is which header field, and which P4 action stands for a list of flow actions.
//
// A mapping is a YAML file ([Parse]). [File.Bind] checks it against a program's
// P4Info: every name must exist, and every width must fit. [Default] is the
// mapping for the program of this repository.
//
// Not every P4 table can have a mask on a key, and not every program has one
// action for a list of actions. Such a rule is refused with an error that names
// the key or the list; it is never approximated.
package mapping
