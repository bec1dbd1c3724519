package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// metaPackages are Debian's names for the newest build of a kernel version.
var metaPackages = map[string]string{
	"6.1":  "linux-image-cloud-amd64",
	"6.12": "linux-image-6.12-cloud-amd64",
}

// sources is where both are: in one release of Debian, whichever the host runs.
const sources = `deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main
`

// kernelImage returns the path of a version's bootable image, which it downloads where
// the cache has none. Removing the version's directory from the cache gets a newer build.
func kernelImage(version string) (string, error) {
	meta, ok := metaPackages[version]
	if !ok {
		return "", fmt.Errorf("no kernel %q is known; try: -kernels 6.1,6.12", version)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	dir := filepath.Join(cache, "swoll", "kernels", version)
	image := filepath.Join(dir, "vmlinuz")
	if _, err := os.Stat(image); err == nil {
		return image, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	fmt.Printf("downloading %s of Debian\n", meta)
	if err := download(meta, fresh); err != nil {
		return "", fmt.Errorf("getting Linux %s: %w", version, err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		// Another run was faster.
		if _, missing := os.Stat(image); missing != nil {
			return "", err
		}
	}
	return image, nil
}

// download puts vmlinuz, and the name of the package that it is from, into a directory.
// It asks Debian's archive through apt, which checks signatures, with state of its own:
// what the host has installed, and from where, stays as it is.
func download(meta, dir string) error {
	state, err := os.MkdirTemp("", "swoll-apt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(state, d), 0o755); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{"sources.list": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	options := []string{
		"-q", "-o", "Dir::Etc::SourceList=" + state + "/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State::Lists=" + state + "/lists", "-o", "Dir::State::Status=" + state + "/status",
		"-o", "Dir::Cache=" + state + "/cache", "-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none",
		"-o", "Acquire::Retries=3", "-o", "APT::Update::Error-Mode=any",
	}
	apt := func(program string, args ...string) (string, error) {
		cmd := exec.Command(program, append(options[:len(options):len(options)], args...)...)
		cmd.Dir = dir
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, errs.String())
		}
		return string(out), nil
	}
	if _, err := apt("apt-get", "update"); err != nil {
		return err
	}
	depends, err := apt("apt-cache", "depends", meta)
	if err != nil {
		return err
	}
	var pkg string
	for _, line := range strings.Split(depends, "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: linux-image-"); ok {
			pkg = "linux-image-" + name
			break
		}
	}
	if pkg == "" {
		return fmt.Errorf("%s depends on no image:\n%s", meta, depends)
	}
	if _, err := apt("apt-get", "download", pkg); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d packages", pkg, len(debs))
	}
	if err := extractImage(debs[0], filepath.Join(dir, "vmlinuz")); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(debs[0]), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package"), []byte(filepath.Base(debs[0])+"\n"), 0o644); err != nil {
		return err
	}
	return os.Remove(debs[0])
}

// extractImage takes the kernel out of a package.
func extractImage(deb, to string) (err error) {
	cmd := exec.Command("dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		// It is not read to its end.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for r := tar.NewReader(out); ; {
		h, err := r.Next()
		if err == io.EOF {
			return errors.New("there is no boot/vmlinuz in it")
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(h.Name, "./boot/vmlinuz-") {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o644)
	}
}
