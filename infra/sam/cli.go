package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"kmint/infra/files"
	"kmint/infra/paste"
)

// A cli is the SAM CLI, run in the root of the repository.
type cli struct {
	// Root is the repository's folder.
	Root string
	// Program is the path of sam.
	Program string
	// Output takes what sam says beside its answers.
	Output io.Writer
}

// errNoSAM says that the SAM CLI is missing.
var errNoSAM = errors.New("there is no sam here: `make sam-check` installs it into .tmp/venv-sam")

// findCLI looks for sam where make installs it, and in the PATH.
func findCLI(output io.Writer) (cli, error) {
	root, err := files.Root()
	if err != nil {
		return cli{}, err
	}
	installed := filepath.Join(root, ".tmp", "venv-sam", "bin", "sam")
	for _, name := range []string{installed, "sam"} {
		if program, err := exec.LookPath(name); err == nil {
			return cli{Root: root, Program: program, Output: output}, nil
		}
	}
	return cli{}, errNoSAM
}

// arch is this machine's processor in the words of the parameter Arch.
func arch() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// Line is a command of sam that can be pasted into a shell in Root.
func (c cli) Line(e engine, args ...string) string {
	program := c.Program
	if below, err := filepath.Rel(c.Root, program); err == nil && filepath.IsLocal(below) {
		program = below
	}
	var words []string
	for _, variable := range append([]string{noTelemetry}, e.Environment...) {
		name, value, _ := strings.Cut(variable, "=")
		words = append(words, name+"="+paste.Quote(value))
	}
	for _, word := range slices.Concat([]string{program, "local"}, args, e.Flags) {
		words = append(words, paste.Quote(word))
	}
	return strings.Join(words, " ")
}

// sam would tell its makers about each call.
const noTelemetry = "SAM_CLI_TELEMETRY=0"

// environment is ours, but for what could lead sam to AWS: with credentials it
// would first ask whose they are.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"}, name)
	})
}

// Built is where sam builds the functions to, and looks for them.
func (c cli) Built() string { return filepath.Join(c.Root, ".aws-sam", "build") }

// Build builds the functions for this machine, and makes its processor the default
// of the built template, so that invoking needs no parameter.
func (c cli) Build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.Program, "build", "--parameter-overrides", "Arch="+arch())
	cmd.Dir = c.Root
	cmd.Env = append(environment(), noTelemetry, "AWS_DEFAULT_REGION=us-east-1", "GOARCH="+runtime.GOARCH)
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("sam build: %w", err)
	}
	path := filepath.Join(c.Built(), "template.yaml")
	template, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	built := bytes.Replace(template, []byte("Default: arm64"), []byte("Default: "+arch()), 1)
	return os.WriteFile(path, built, 0o600)
}
