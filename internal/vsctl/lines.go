package vsctl

import (
	"fmt"
	"strings"
)

// AddBridge is the line that makes a bridge, in userspace where the kernel has no Open vSwitch.
func AddBridge(name string) string {
	line := "ovs-vsctl add-br " + Quoted(name)
	if !HasKernelModule() {
		line += " -- set bridge " + Quoted(name) + " datapath_type=netdev"
	}
	return line
}

// HandOver is the line that hands a bridge over to a gateway. It is one transaction: there is no moment at
// which the bridge forwards by itself.
func HandOver(bridge, target string) string {
	name := Quoted(bridge)
	return fmt.Sprintf("ovs-vsctl set-fail-mode %s secure -- set bridge %s other-config:disable-in-band=true -- set-controller %s %s", name, name, name, Quoted(target))
}

// Quoted is a word as a shell takes it: in quotes, where it has signs that mean something to one.
func Quoted(word string) string {
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || strings.ContainsRune("'\"\\$&|;<>()*?[]#~`!{}", r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Line is a command's words as a shell takes them.
func Line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Quoted(w)
	}
	return strings.Join(quoted, " ")
}
