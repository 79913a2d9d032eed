// Command release answers: what is put into somebody's hands, and how do they know that it
// is that?
//
//	release BUILT OUT VERSION ARCH CYCLONEDX
//
// takes the built functions, BUILT/token/bootstrap and so on, and writes into OUT a zip of
// each as Lambda takes it, a bill of materials of each by the program CYCLONEDX
// (cyclonedx-gomod), and SHA256SUMS of all. The same functions give the same bytes: a
// file in a zip has no date, and a bill neither date nor serial number. `make release`
// runs it.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 6 {
		log.Fatal("usage: release BUILT OUT VERSION ARCH CYCLONEDX")
	}
	if err := release(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		log.Fatal(err)
	}
}

func release(ctx context.Context, built, out, version, arch, cyclonedx string) error {
	bootstraps, err := filepath.Glob(filepath.Join(built, "*", "bootstrap"))
	if err != nil {
		return err
	}
	if len(bootstraps) == 0 {
		return fmt.Errorf("%s has no built function", built)
	}
	files := map[string][]byte{}
	for _, path := range bootstraps {
		name := filepath.Base(filepath.Dir(path)) + "-" + arch
		if files[name+".zip"], err = zipped(path); err != nil {
			return err
		}
		if files[name+".cdx.json"], err = bill(ctx, cyclonedx, path, version, arch); err != nil {
			return err
		}
	}
	files["SHA256SUMS"] = sums(files)
	if err := os.MkdirAll(out, 0o755); err != nil { //nolint:gosec // for everybody
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil { //nolint:gosec // for everybody
			return err
		}
	}
	return nil
}

// zipped is a zip of one program.
func zipped(path string) ([]byte, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	header.SetMode(0o755)
	file, err := archive.CreateHeader(header)
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(program); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// made is the one line of a bill that says when it was.
var made = regexp.MustCompile(`(?m)^ *"timestamp": ".*",\n`)

// bill is the bill of materials of a program, in CycloneDX's JSON.
func bill(ctx context.Context, cyclonedx, path, version, arch string) ([]byte, error) {
	//nolint:gosec // what make names
	command := exec.CommandContext(ctx, cyclonedx, "bin", "-json", "-noserial", "-std", "-version", version, path)
	// It says of the program what its own environment says.
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch)
	var wrong bytes.Buffer
	command.Stderr = &wrong
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w\n%s", cyclonedx, path, err, wrong.Bytes())
	}
	return made.ReplaceAll(text, nil), nil
}

// sums is a file as sha256sum --check reads it.
func sums(files map[string][]byte) []byte {
	var lines []string
	for name, content := range files {
		digest := sha256.Sum256(content)
		lines = append(lines, hex.EncodeToString(digest[:])+"  "+name+"\n")
	}
	slices.SortFunc(lines, func(a, b string) int { return bytes.Compare([]byte(a[64:]), []byte(b[64:])) })
	var all []byte
	for _, line := range lines {
		all = append(all, line...)
	}
	return all
}
