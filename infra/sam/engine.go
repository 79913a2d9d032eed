package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// An engine runs the containers that the SAM CLI asks for.
type engine struct {
	// Environment is what sam needs in its own, beside ours.
	Environment []string
	// Flags say which image is run.
	Flags []string
	// Host is this machine, as a container sees it.
	Host string
	stop func() error
}

// Stop ends what was started for the engine.
func (e engine) Stop() error {
	if e.stop == nil {
		return nil
	}
	return e.stop()
}

// errNoEngine says that nothing here can run a container.
var errNoEngine = errors.New("nothing here can run sam's containers")

// findEngine takes a running Docker, or else starts podman. built is where sam puts
// the functions, and scratch a folder for what podman needs; its path must be short,
// since a socket is made there.
func findEngine(ctx context.Context, built, scratch string) (engine, error) {
	if exec.CommandContext(ctx, "docker", "info").Run() == nil {
		return docker(ctx), nil
	}
	if _, err := exec.LookPath("podman"); err == nil {
		return startPodman(ctx, built, scratch)
	}
	return engine{}, fmt.Errorf("%w: neither Docker nor podman is here", errNoEngine)
}

// docker is a running Docker engine. Its image is Amazon's, which sam pulls.
func docker(ctx context.Context) engine {
	host := "host.docker.internal"
	if runtime.GOOS == "linux" {
		// Only Docker Desktop knows that name.
		out, err := exec.CommandContext(ctx, "docker", "network", "inspect", "bridge",
			"--format", "{{(index .IPAM.Config 0).Gateway}}").Output()
		if gateway := strings.TrimSpace(string(out)); err == nil && gateway != "" {
			host = gateway
		}
	}
	return engine{Host: host}
}

// image is the base of a function's container where no image registry has to be
// reached: a static shell and empty folders, which is enough for a static Go
// program. It stands in for Amazon Linux.
const image = "localhost/kmint-lambda-provided:al2023"

// startPodman runs podman's Docker-compatible service.
func startPodman(ctx context.Context, built, scratch string) (engine, error) {
	conf := filepath.Join(scratch, "containers.conf")
	socket := "unix://" + filepath.Join(scratch, "podman.sock")
	e := engine{
		Environment: []string{"CONTAINERS_CONF=" + conf, "DOCKER_HOST=" + socket},
		Flags:       []string{"--invoke-image", image, "--skip-pull-image"},
		Host:        "host.containers.internal",
	}
	if err := os.WriteFile(conf, []byte(containersConf()), 0o600); err != nil {
		return engine{}, err
	}
	if err := importImage(ctx, e.Environment); err != nil {
		return engine{}, err
	}
	// Not bound to ctx: it has to outlive sam, which removes its containers.
	service := exec.Command("podman", "system", "service", "--time=0", socket)
	service.Env = append(os.Environ(), e.Environment...)
	// Ctrl-C is for sam and us; the service ends last.
	service.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	service.Stdout, service.Stderr = &log, &log
	if err := service.Start(); err != nil {
		return engine{}, fmt.Errorf("podman: %w", err)
	}
	gone := make(chan error, 1)
	go func() { gone <- service.Wait() }()
	e.stop = func() error {
		if err := service.Process.Signal(os.Interrupt); err != nil {
			return err
		}
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			if err := service.Process.Kill(); err != nil {
				return err
			}
		}
		return removeLeft(built, e.Environment)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-gone:
			return engine{}, fmt.Errorf("podman system service: %w: %s", err, log.String())
		default:
		}
		if c, err := net.Dial("unix", strings.TrimPrefix(socket, "unix://")); err == nil {
			return e, c.Close()
		}
	}
	return engine{}, errors.Join(errors.New("podman system service does not answer"), e.stop())
}

// removeLeft removes the containers that still run what is built: with podman, sam
// forgets some of them now and then.
func removeLeft(built string, environment []string) error {
	functions, err := os.ReadDir(built)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, function := range functions {
		list := exec.Command("podman", "ps", "--all", "--quiet", "--filter", "volume="+filepath.Join(built, function.Name()))
		list.Env = append(os.Environ(), environment...)
		left, err := list.Output()
		if err != nil {
			return fmt.Errorf("podman ps: %w", err)
		}
		if len(left) == 0 {
			continue
		}
		remove := exec.Command("podman", append([]string{"rm", "--force", "--time", "0"}, strings.Fields(string(left))...)...)
		remove.Env = list.Env
		if out, err := remove.CombinedOutput(); err != nil {
			return fmt.Errorf("podman rm: %w: %s", err, out)
		}
	}
	return nil
}

// containersConf keeps containers within the limits that a machine without
// CAP_SYS_RESOURCE has, and runs them by runc where it is: crun 1.8 refuses
// cgroups in hybrid mode.
func containersConf() string {
	conf := "[containers]\ndefault_ulimits = [\"nofile=8192:8192\", \"nproc=4096:4096\"]\n"
	if _, err := exec.LookPath("runc"); err == nil {
		conf += "[engine]\nruntime = \"runc\"\n"
	}
	return conf
}

// importImage makes the base image, unless it is there.
func importImage(ctx context.Context, environment []string) error {
	podman := func(stdin io.Reader, args ...string) error {
		cmd := exec.CommandContext(ctx, "podman", args...)
		cmd.Env = append(os.Environ(), environment...)
		cmd.Stdin = stdin
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("podman %s: %w: %s", args[0], err, out)
		}
		return nil
	}
	if podman(nil, "image", "exists", image) == nil {
		return nil
	}
	shell, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w: podman's base image is made of a static busybox (Debian's busybox-static)", errNoEngine)
	}
	program, err := os.ReadFile(shell)
	if err != nil {
		return err
	}
	root, err := rootFS(program)
	if err != nil {
		return err
	}
	return podman(root, "import", "--change", "WORKDIR /var/task", "-", image)
}

// rootFS is the image's content: busybox, under the names that sam's own layer
// calls.
func rootFS(busybox []byte) (io.Reader, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	headers := []*tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "opt/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "var/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "var/task/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "var/runtime/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(busybox))},
	}
	for _, name := range []string{"sh", "mv", "cp", "rm", "mkdir", "chmod", "ls", "cat"} {
		headers = append(headers, &tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777})
	}
	for _, header := range headers {
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if header.Size > 0 {
			if _, err := w.Write(busybox); err != nil {
				return nil, err
			}
		}
	}
	return &archive, w.Close()
}
