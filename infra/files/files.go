// Package files answers: which files of its owner does a command read?
//
// `make run`, `kmint import` and `make sam-local` find them in the same way, and
// complain of them in the same words.
package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kmint/pkg/seed"
)

// Root is the folder of template.yaml: this one, or one above it.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "template.yaml")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no template.yaml in this folder or above it")
		}
		dir = parent
	}
}

// Seed reads a configuration file. The error names the file; where there is more
// than one thing wrong with it, each has a line of its own, indented. A file that
// is not there is an error of the operating system.
func Seed(path string) (seed.Seed, error) {
	file, err := os.Open(path)
	if err != nil {
		return seed.Seed{}, err
	}
	defer func() { _ = file.Close() }()
	s, err := seed.Read(file)
	var problems seed.Problems
	switch {
	case errors.As(err, &problems) && len(problems) > 1:
		return seed.Seed{}, fmt.Errorf("%s is refused for %d reasons:\n  %s", path, len(problems), strings.ReplaceAll(problems.Error(), "\n", "\n  "))
	case err != nil:
		return seed.Seed{}, fmt.Errorf("%s is refused: %w", path, err)
	}
	return s, nil
}
