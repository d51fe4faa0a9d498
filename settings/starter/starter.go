// Package starter writes the configuration and the policy that one begins with: small, commented, and good
// as they are.
package starter

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"switchbridge/internal/vsctl"
	"switchbridge/settings"
)

// Names of the files.
const (
	ConfigFile = "switchbridge.yaml"
	PolicyFile = "policy.yaml"
)

// Choice is what is begun with.
type Choice struct {
	Bridge    vsctl.Bridge // the one that is handed over; its Ports stand in comments
	VLANLimit int          // Open vSwitch's
	Listen    settings.Listen
	Admin     string
	Listed    bool // the policy denies what it does not name; else it allows that

	// A function that decides, in the place of a policy here.
	Function, FunctionCA, TokenFile, Encoding string
}

// File is one to write.
type File struct{ Name, Text string }

// Files are the configuration and, where no function elsewhere decides, the policy.
func (c *Choice) Files() []File {
	files := []File{{ConfigFile, c.config()}}
	if c.Function == "" {
		files = append(files, File{PolicyFile, c.policy()})
	}
	return files
}

// Ports are the bridge's, for a comment.
func (c *Choice) Ports() string {
	var list []string
	for _, p := range c.Bridge.Ports {
		if p.Number <= 0 {
			continue // it can't be used
		}
		text := fmt.Sprintf("%d is %s", p.Number, line(p.Name))
		if p.Tag != 0 {
			text += fmt.Sprintf(" (VLAN %d)", p.Tag)
		}
		if list = append(list, text); len(list) == 24 {
			list = append(list, "...")
			break
		}
	}
	return cmp.Or(strings.Join(list, ", "), "none yet")
}

// Write writes files into a folder, which it makes. It replaces none: where one of them is there, it writes none.
func Write(dir string, files []File) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists already; nothing was written", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, f := range files {
		out, err := os.OpenFile(filepath.Join(dir, f.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = out.WriteString(f.Text)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return nil
}
