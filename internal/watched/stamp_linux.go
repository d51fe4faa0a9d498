package watched

import (
	"os"
	"syscall"
	"time"
)

// changeOf says when a file's inode changed last, and which it is. A change of
// content is one of the inode too, and nobody can date that back.
func changeOf(info os.FileInfo) (time.Time, uint64) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix()), st.Ino
	}
	return info.ModTime(), 0
}
