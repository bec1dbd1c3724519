package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// image is the full name of one of the images that writeImages makes. There is no registry
// that has it: pods must say imagePullPolicy: Never.
func image(name string) string { return "e2e.invalid/" + name + ":1" }

// programs are those in the image "programs": C sources in ./programs and ../programs.
var programs = []string{"pause", "marker", "death", "once"}

// buildPrograms builds what is tested, and what runs in the containers.
func buildPrograms() error {
	build := exec.Command("go", "build", "-trimpath", "-o", built+"/", "../../cmd/swolld", "../../cmd/swoll-dump")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	// By this name kubectl finds it: kubectl swoll.
	if err := os.Link(filepath.Join(built, "swoll-dump"), filepath.Join(built, "kubectl-swoll")); err != nil {
		return err
	}
	for _, name := range programs {
		source := filepath.Join("programs", name+".c")
		if _, err := os.Stat(source); err != nil {
			source = filepath.Join("../programs", name+".c")
		}
		gcc := exec.Command("gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", filepath.Join(built, name), source)
		if out, err := gcc.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", gcc, err, out)
		}
	}
	return nil
}

// writeImages writes an archive with all images, as `docker save` does:
//
//	pause     what a sandbox runs
//	programs  busybox as a shell and its tools, and the programs of the tests
//	swoll     what the project's Containerfile makes
func writeImages(archive string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	tools, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", busybox, err)
	}
	shell := layer{files: map[string]string{"bin/busybox": busybox}, links: map[string]string{}}
	for _, tool := range strings.Fields(string(tools)) {
		if tool != "busybox" {
			shell.links["bin/"+tool] = "busybox"
		}
	}
	for _, name := range programs {
		shell.files["bin/"+name] = filepath.Join(built, name)
	}

	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []entry
	for _, i := range []struct {
		name       string
		entrypoint []string
		layer      layer
	}{
		{"pause", []string{"/pause"}, layer{files: map[string]string{"pause": filepath.Join(built, "pause")}}},
		{"programs", nil, shell},
		{"swoll", []string{"/swolld"}, layer{files: map[string]string{
			"swolld": filepath.Join(built, "swolld"), "swoll-dump": filepath.Join(built, "swoll-dump")}}},
	} {
		data, err := i.layer.tar()
		if err != nil {
			return err
		}
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux",
			"config": map[string]any{"Entrypoint": i.entrypoint, "Env": []string{"PATH=/bin:/"}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(data))}},
		})
		if err != nil {
			return err
		}
		if err := addFile(w, i.name+"/layer.tar", 0o644, data); err != nil {
			return err
		}
		if err := addFile(w, i.name+".json", 0o644, config); err != nil {
			return err
		}
		manifest = append(manifest, entry{i.name + ".json", []string{image(i.name)}, []string{i.name + "/layer.tar"}})
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	if err := addFile(w, "manifest.json", 0o644, data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

// A layer is a file system: files by the path that they are read from, and symbolic links.
type layer struct {
	files, links map[string]string
}

func (l layer) tar() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"bin/", "etc/", "tmp/", "proc/", "sys/", "dev/", "run/", "var/"} {
		mode := int64(0o755)
		if dir == "tmp/" {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: mode}); err != nil {
			return nil, err
		}
	}
	for name, path := range l.files {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if err := addFile(w, name, 0o755, data); err != nil {
			return nil, err
		}
	}
	for name, target := range l.links {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func addFile(w *tar.Writer, name string, mode int64, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
