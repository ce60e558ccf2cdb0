package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shown is what a server says, fit for a terminal: control characters, which begin the sequences that terminals obey, are written as Go and JSON
// write them, \u001b say, and so are bytes that are no characters, \xff. Lines and tabs stay where lines is set: the text's layout is this program's.
func shown(s string, lines bool) string {
	odd := func(r rune) bool {
		return r == utf8.RuneError || unicode.IsControl(r) && !(lines && (r == '\n' || r == '\t'))
	}
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r != utf8.RuneError && odd(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
