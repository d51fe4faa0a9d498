package flow

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseNumber reads a number of at most so many bits as people write one: in
// decimal, or in hexadecimal after 0x. What means different numbers to different
// readers is an error: 010 (ten, or octal eight), 1_0, 0b11, 0o7, +1.
func ParseNumber(s string, bits int) (uint64, error) {
	digits, base := s, 10
	switch {
	case strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X"):
		digits, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		return 0, fmt.Errorf("%q: want a number in decimal without leading zeros, or in hexadecimal after 0x", s)
	}
	v, err := strconv.ParseUint(digits, base, 64)
	switch {
	case err != nil && base == 10 && strings.Trim(digits, "0123456789") == "" && digits != "", err == nil && bits < 64 && v>>bits != 0:
		return 0, fmt.Errorf("%s is more than %d bits hold", s, bits)
	case err != nil:
		return 0, fmt.Errorf("%q: want a number in decimal without leading zeros, or in hexadecimal after 0x", s)
	}
	return v, nil
}
