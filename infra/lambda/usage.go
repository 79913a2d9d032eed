package lambda

import (
	"runtime"
	"syscall"
)

// Peak is the most memory that was resident at once, in bytes, after Close; 0 where
// the system does not say.
func (e *Environment) Peak() int64 {
	usage, ok := e.command.ProcessState.SysUsage().(*syscall.Rusage)
	switch {
	case !ok:
		return 0
	case runtime.GOOS == "darwin": // getrusage(2) there: "in bytes"
		return usage.Maxrss
	default:
		return usage.Maxrss << 10
	}
}
