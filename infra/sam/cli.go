package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
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
	root, err := findRoot()
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

// findRoot looks for the template here and in the folders above.
func findRoot() (string, error) {
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

// arch is this machine's processor in the words of the parameter Arch.
func arch() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}

// command is sam with our environment, but for what could lead it to AWS: with
// credentials it would first ask whose they are.
func (c cli) command(ctx context.Context, environment []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Program, args...)
	cmd.Dir = c.Root
	for _, variable := range os.Environ() {
		switch name, _, _ := strings.Cut(variable, "="); name {
		case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE":
		default:
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "SAM_CLI_TELEMETRY=0", "AWS_DEFAULT_REGION=us-east-1")
	cmd.Env = append(cmd.Env, environment...)
	cmd.Stderr = c.Output
	// sam removes its containers when it is interrupted, not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// Build builds the functions for this machine into dir, and makes its processor
// the default of the built template, so that invoking needs no parameter.
func (c cli) Build(ctx context.Context, dir string) error {
	cmd := c.command(ctx, []string{"GOARCH=" + runtime.GOARCH},
		"build", "--build-dir", dir, "--parameter-overrides", "Arch="+arch())
	cmd.Stdout = c.Output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("sam build: %w", err)
	}
	path := filepath.Join(dir, "template.yaml")
	template, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	built := bytes.Replace(template, []byte("Default: arm64"), []byte("Default: "+arch()), 1)
	return os.WriteFile(path, built, 0o600)
}

// A response is what a function answers (payload format 2.0).
type response struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// Invoke runs one function once. dir is where Build put it; event and variables
// are files.
func (c cli) Invoke(ctx context.Context, e engine, dir, function, event, variables string) (response, error) {
	args := append([]string{"local", "invoke", function,
		"--template", filepath.Join(dir, "template.yaml"), "--event", event, "--env-vars", variables}, e.Flags...)
	out, err := c.command(ctx, e.Environment, args...).Output()
	if err != nil {
		return response{}, fmt.Errorf("sam local invoke %s: %w", function, err)
	}
	var r response
	if err := json.Unmarshal(bytes.TrimSpace(out), &r); err != nil {
		return response{}, fmt.Errorf("sam local invoke %s: %w: %s", function, err, out)
	}
	return r, nil
}

// StartAPI serves the routes of the template on 127.0.0.1 until ctx ends. Wait
// for the command that it returns.
func (c cli) StartAPI(ctx context.Context, e engine, dir, port, variables string) (*exec.Cmd, error) {
	args := append([]string{"local", "start-api", "--port", port,
		"--template", filepath.Join(dir, "template.yaml"), "--env-vars", variables}, e.Flags...)
	cmd := c.command(ctx, e.Environment, args...)
	cmd.Stdout = c.Output
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("sam local start-api: %w", err)
	}
	return cmd, nil
}
