package recorder

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Remove takes swoll off the node: what Uninstall removes, then all snapshots, and the
// state directory if nothing else is in it. Either directory may be empty or missing. It
// goes on after an error, and returns all. No Recorder may run with them.
func Remove(pinDir, stateDir string, log *slog.Logger) error {
	var errs []error
	if pinDir != "" {
		errs = append(errs, Uninstall(pinDir, log))
	}
	if stateDir != "" {
		errs = append(errs, removeSnapshots(stateDir, log))
	}
	return errors.Join(errs...)
}

// removeSnapshots removes the files that a store made, by their names, and no others.
func removeSnapshots(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state directory: %w", err)
	}
	var errs []error
	removed, others := 0, 0
	for _, e := range entries {
		id, saved := strings.CutSuffix(e.Name(), suffix)
		begun := unfinished(e.Name()) || e.Name() == namesFile
		if !begun && (!saved || !idPattern.MatchString(id)) {
			others++
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("removing a snapshot: %w", err))
			continue
		}
		removed++
	}
	if others == 0 && errs == nil {
		if err := os.Remove(dir); err != nil {
			errs = append(errs, fmt.Errorf("removing the state directory: %w", err))
		}
	}
	log.Info("removed the snapshots", "dir", dir, "snapshots", removed, "other files, left alone", others)
	return errors.Join(errs...)
}
