package stream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Bounds of the default number of partitions. Few partitions on one machine
// batch best: each frame is a sync of its own.
const (
	partitionsMin = 2
	partitionsMax = 8
)

// partitionsFile holds the number of partitions of a data directory: which logs
// a customer's events are in depends on it.
const partitionsFile = "partitions"

// fixedPartitions returns the number of partitions of a data directory, which
// it fixes when the directory is first used.
func fixedPartitions(dir string, wanted int) (int, error) {
	path := filepath.Join(dir, partitionsFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if wanted == 0 {
			wanted = min(max(runtime.NumCPU(), partitionsMin), partitionsMax)
		}
		return wanted, writeFileSync(path, strconv.Itoa(wanted)+"\n")
	}
	if err != nil {
		return 0, fmt.Errorf("read number of partitions: %w", err)
	}
	fixed, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || fixed < 1 {
		return 0, fmt.Errorf("read number of partitions: %s holds %q", path, text)
	}
	if wanted != 0 && wanted != fixed {
		return 0, fmt.Errorf("the data directory %s was made with %d partitions and cannot be run with %d: leave the setting out", dir, fixed, wanted)
	}
	return fixed, nil
}

// writeFileSync writes a small file so that it is whole or not there after a crash.
func writeFileSync(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
