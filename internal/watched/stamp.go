package watched

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// stamp is how files looked at one time.
type stamp struct {
	stat string            // of each file, the target's where it is a link
	sum  [sha256.Size]byte // of what they hold
	// settled says that equal stats mean equal content. They don't for a moment
	// after a change, in which the clock of the file system may not have moved.
	settled bool
}

// tick is more than what any file system's clock of changes may stand still.
const tick = 50 * time.Millisecond

// look sums up the attributes of files, and says when the newest change was. A
// file that isn't there is part of the sum.
func look(paths []string) (stat string, newest time.Time) {
	var b strings.Builder
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v;", path, err)
			continue
		}
		changed, inode := changeOf(info)
		if changed.After(newest) {
			newest = changed
		}
		fmt.Fprintf(&b, "%s %d %d %d %d;", path, inode, info.Size(), info.ModTime().UnixNano(), changed.UnixNano())
	}
	return b.String(), newest
}

// read makes the stamp of files; ok is false where one can't be read.
func read(paths []string) (s stamp, ok bool) {
	now := time.Now()
	stat, newest := look(paths)
	s.stat, s.settled = stat, now.Sub(newest) > tick
	h := sha256.New()
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return s, false
		}
		n, err := io.Copy(h, f)
		f.Close()
		if err != nil {
			return s, false
		}
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	}
	h.Sum(s.sum[:0])
	return s, true
}
