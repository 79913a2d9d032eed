package main

import (
	"archive/zip"
	"io"
	"os"
	"syscall"
	"time"
)

// used is the processor time of this process so far.
func used() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// zipSize is the size of a zip of one file, as it is uploaded.
func zipSize(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	var size counter
	archive := zip.NewWriter(&size)
	w, err := archive.Create("bootstrap")
	if err == nil {
		_, err = io.Copy(w, file)
	}
	if closed := archive.Close(); err == nil {
		err = closed
	}
	return int64(size), err
}
