package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"kmint/infra/rig/sqstest"
)

// A queue stands for the one in SQS. Nothing takes out of it by itself: a batch is
// written down as the event that Lambda would make of it, and the line that delivers
// it is printed.
type queue struct {
	// Root is the repository's folder.
	Root string
	Out  io.Writer
	// Line is a command that invokes the deliver function with an event.
	Line func(event string) string

	mu    sync.Mutex
	count int
}

// Take writes the messages down.
func (q *queue) Take(messages []string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	content, err := json.MarshalIndent(sqstest.Event(messages), "", "  ")
	if err != nil {
		return err
	}
	q.count++
	event := filepath.Join(filepath.Dir(variables), fmt.Sprintf("logout-%d.json", q.count))
	if err := os.WriteFile(filepath.Join(q.Root, event), append(content, '\n'), 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintf(q.Out, "\nA logout has put %d into the queue. This delivers:\n\n  %s\n", len(messages), q.Line(event))
	return err
}
