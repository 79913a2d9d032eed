package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// A printer writes for a person, in colour where Color is set.
type printer struct {
	Out   io.Writer
	Color bool
}

// newPrinter colours only a terminal, and none that asks for no colour
// (no-color.org).
func newPrinter(out *os.File) printer {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return printer{out, terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (p printer) paint(code, text string) string {
	if !p.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p printer) heading(format string, args ...any) {
	p.line("\n%s", p.paint("1", fmt.Sprintf(format, args...)))
}

func (p printer) field(name, value, remark string) {
	if remark != "" {
		remark = "  " + p.paint("2", remark)
	}
	p.line("  %s%s%s", p.paint("2", fmt.Sprintf("%-11s", name)), value, remark)
}

func (p printer) line(format string, args ...any) { _, _ = fmt.Fprintf(p.Out, format+"\n", args...) }

// token prints a JWT as it is, and decoded.
func (p printer) token(token string) {
	colours := []string{"35", "36", "33"}
	parts := strings.Split(token, ".")
	painted := make([]string, len(parts))
	for i, part := range parts {
		painted[i] = p.paint(colours[i%3], part)
	}
	p.line("  %s\n", strings.Join(painted, "."))
	for i, part := range parts[:len(parts)-1] {
		var indented bytes.Buffer
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err == nil && json.Indent(&indented, text, "  ", "  ") == nil {
			p.line("  %s", p.paint(colours[i%3], indented.String()))
		}
	}
}
