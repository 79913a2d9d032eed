package lambda

import (
	"fmt"
	"os"
)

// Resident is the memory that the process has resident, in bytes. Linux alone says
// so. The most that getrusage knows of would not do: it counts what the process was
// before it became the function, a copy of the one that started it.
func (e *Environment) Resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", e.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("lambda: %w", err)
	}
	var size, resident int64 // in pages
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("lambda: %w", err)
	}
	return resident * int64(os.Getpagesize()), nil
}
