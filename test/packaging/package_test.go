// Package packaging tries what make package and make image make. It is a package of its own since two builds take minutes.
package packaging

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Two builds of a commit give the same package and the same container image, byte by byte: the second one in a git worktree, with another umask, in another
// time zone, and without what the first one compiled. The package is installed, used, removed and purged in a Debian of its own.
// It takes more than ten minutes, and so make package-check runs it alone.
func TestPackage(t *testing.T) {
	if os.Getenv("SWITCHBRIDGE_PACKAGE") != "1" {
		t.Skip("builds everything twice, for more than ten minutes: make package-check runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: a Debian of its own can't be made without")
	}
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, "clone", "--quiet", "../..", clone)
	tree := filepath.Join(t.TempDir(), "tree") // there Go keeps no record of the commit
	git(t, "-C", clone, "worktree", "add", "--quiet", "--detach", tree)
	first := makePackage(t, clone, "umask 022; TZ=UTC", nil)
	cache, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("in a Debian of its own", func(t *testing.T) {
		t.Parallel()
		install(t, first, clone)
	})
	t.Run("two builds give the same bytes", func(t *testing.T) {
		t.Parallel()
		// The program that packs is not what is compared: it need not be compiled again.
		second := makePackage(t, tree, "umask 027; TZ=Asia/Tokyo", []string{"GOCACHE=" + t.TempDir(), "TOOL=env GOCACHE=" + string(bytes.TrimSpace(cache)) + " go"})
		if a, b := sum(t, first), sum(t, second); a != b || filepath.Base(first) != filepath.Base(second) {
			t.Errorf("two builds of a commit differ: %s is %x, %s is %x", first, a, second, b)
		}
		if a, b := sum(t, image(clone)), sum(t, image(tree)); a != b {
			t.Errorf("two builds of a commit differ: the images are %x and %x", a, b)
		}
	})
}

// install installs the package that was built of a clone in a new Debian, uses it, and removes and purges it.
func install(t *testing.T, first, clone string) {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		t.Skip("debootstrap is not installed (make package-check installs it)")
	}
	root := filepath.Join(t.TempDir(), "debian")
	if out, err := exec.Command("debootstrap", "--variant=minbase", "--include=systemd", "bookworm", root).CombinedOutput(); err != nil {
		t.Skipf("no Debian can be made here: %v\n%s", err, last(out))
	}
	in := func(args ...string) string {
		t.Helper()
		mounted := `mount -t proc proc "$0/proc" && exec chroot "$0" "$@"`
		out, err := exec.Command("unshare", append([]string{"--mount", "sh", "-c", mounted, root}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("in the new Debian, %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	deb, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "switchbridge.deb"), deb, 0o600); err != nil {
		t.Fatal(err)
	}
	in("dpkg", "--install", "/switchbridge.deb")
	if out := in("dpkg", "--verify", "switchbridge"); out != "" {
		t.Errorf("dpkg --verify: %s", out)
	}
	head, err := exec.Command("git", "-C", clone, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	if out := in("switchbridge", "version"); !strings.Contains(out, "\ncommit       "+string(bytes.TrimSpace(head))+" of 2") || strings.Contains(out, "changes") {
		t.Errorf("the installed program is of another commit than %s: %s", head, out)
	}
	in("switchbridge", "bench", "--help") // finds its sibling
	if out := in("switchbridge", "run", "--config", "/etc/switchbridge/switchbridge.yaml", "--check"); !strings.Contains(out, "the configuration is good") {
		t.Errorf("the installed configuration: %s", out)
	}
	for _, file := range []string{"/usr/share/man/man1/switchbridge-run.1.gz", "/usr/share/bash-completion/completions/switchbridge", "/usr/share/doc/switchbridge/copyright"} {
		in("test", "-s", file)
	}

	unit := "/usr/lib/systemd/system/switchbridge.service"
	if out := in("systemd-analyze", "verify", "--man=no", unit); strings.Contains(out, "switchbridge") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	// 0 is a service that can do nothing, 100 one that can do everything: systemd calls what is below 20 OK.
	t.Log(last([]byte(in("systemd-analyze", "security", "--offline=true", "--threshold=20", unit))))
	in("systemctl", "enable", "switchbridge.service")

	// What an administrator changed is kept by an upgrade and by a removal, and gone after a purge.
	config := filepath.Join(root, "etc/switchbridge/switchbridge.yaml")
	if err := os.WriteFile(config, []byte("policy: /etc/switchbridge/policy.yaml\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	in("dpkg", "--install", "--force-confold", "/switchbridge.deb")
	if b, err := os.ReadFile(config); err != nil || string(b) != "policy: /etc/switchbridge/policy.yaml\n" {
		t.Errorf("the configuration after the package was installed again: %v, %s", err, b)
	}
	if err := os.MkdirAll(filepath.Join(root, "var/cache/private/switchbridge"), 0o700); err != nil {
		t.Fatal(err)
	}
	in("dpkg", "--remove", "switchbridge")
	if _, err := os.Lstat(filepath.Join(root, "etc/systemd/system/multi-user.target.wants/switchbridge.service")); err == nil {
		t.Error("the service is still enabled after the package was removed")
	}
	if _, err := os.Stat(config); err != nil {
		t.Errorf("the configuration after the package was removed: %v", err)
	}
	in("dpkg", "--purge", "switchbridge")
	for _, gone := range []string{"etc/switchbridge", "usr/bin/switchbridge", "var/cache/private/switchbridge", "usr/share/doc/switchbridge"} {
		if _, err := os.Stat(filepath.Join(root, gone)); err == nil {
			t.Errorf("/%s is still there after the package was purged", gone)
		}
	}
}

func git(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// makePackage builds the package and the image of the checkout in dir and returns where the package is.
func makePackage(t *testing.T, dir, shell string, env []string) string {
	t.Helper()
	c := exec.Command("sh", "-c", shell+" exec make package image")
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("make package: %v\n%s", err, out)
	}
	if n, err := filepath.Glob(image(dir)); err != nil || len(n) != 1 {
		t.Fatalf("make image left %q, %v", n, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "build/package/*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("make package left %q, %v", found, err)
	}
	return found[0]
}

// image is where make image leaves it.
func image(dir string) string { return filepath.Join(dir, "build/image/switchbridge.tar") }

func sum(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// last is the last line of what a program printed.
func last(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(lines[len(lines)-1])
}
