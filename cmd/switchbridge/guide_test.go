package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every command of the guide prints what stands below it. A line of three dots is any number of lines.
func TestGuide(t *testing.T) {
	body, err := os.ReadFile("../../docs/proving.md")
	if err != nil {
		t.Fatal(err)
	}
	data := os.Getenv("SWITCHBRIDGE_DATA")
	if data == "" {
		data = "../../../shared/data"
	}
	given := make(map[string][]byte)
	for _, name := range []string{"iot-plug.pcap", "iot-plug.mud.json"} {
		b, err := os.ReadFile(filepath.Join(data, name))
		if err != nil {
			t.Skipf("no capture to read: %v", err)
		}
		given[name] = b
	}
	dir := t.TempDir()
	save := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range given {
		save(name, b)
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?s)(?:`([a-z]+\\.yaml)`:\n\n)?```([a-z]+)\n(.*?)```").FindAllStringSubmatch(string(body), -1) {
		switch name, kind, text := block[1], block[2], block[3]; kind {
		case "yaml":
			save(name, []byte(text))
		case "console":
			for _, one := range strings.Split(text, "$ switchbridge ")[1:] {
				command, want, _ := strings.Cut(one, "\n")
				c := exec.Command("sh", "-c", `exec "$0" `+command, os.Args[0])
				c.Dir, c.Env = dir, append(os.Environ(), asProgram+"=1")
				out, _ := c.CombinedOutput() // what it prints says whether it failed
				parts := strings.Split("\n"+want, "\n...")
				pattern := regexp.QuoteMeta(parts[0])
				for _, p := range parts[1:] {
					pattern += `(?:\n.*)*?` + regexp.QuoteMeta(p)
				}
				if !regexp.MustCompile("^" + pattern + "$").MatchString("\n" + string(out)) {
					t.Errorf("switchbridge %s\nprints\n%s\nwant\n%s", command, out, want)
				}
				commands++
			}
		}
	}
	if commands < 6 {
		t.Errorf("only %d commands were found", commands)
	}
}
