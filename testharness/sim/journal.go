package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// WriteFile replaces a file as a whole: after a kill the old or the new text is
// there, never half of one. On return it is on stable storage.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already after the rename
	err = f.Chmod(perm)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ErrJournalInUse is returned when another process has the journal open.
var ErrJournalInUse = errors.New("the journal is open in another process")

// ErrJournalCorrupt is returned when a line that is not the last one is
// damaged: that is not the trace of a kill.
var ErrJournalCorrupt = errors.New("the journal is damaged before its end")

// Journal is an append-only file of JSON lines, each with a checksum. Write
// with Append, then Flush before telling anybody: many writers share one sync.
// The nil Journal takes everything and keeps nothing.
type Journal struct {
	file *os.File

	mu      sync.Mutex
	cond    *sync.Cond
	pending []byte
	added   uint64 // appended so far
	durable uint64 // of these, on stable storage
	busy    bool   // someone is writing
	failed  error  // for good: what is in memory is ahead of the file
}

// OpenJournal opens or makes the journal at path, calls replay for each whole
// line in order, and cuts off a last line that a kill left torn. A second
// process on the same file gets ErrJournalInUse.
func OpenJournal(path string, replay func(line []byte) error) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &Journal{file: f}
	j.cond = sync.NewCond(&j.mu)
	err = j.open(path, replay)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return j, nil
}

func (j *Journal) open(path string, replay func(line []byte) error) error {
	err := syscall.Flock(int(j.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, ErrJournalInUse)
	}
	text, err := io.ReadAll(j.file)
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	good := 0
	for number := 1; good < len(text); number++ {
		line, rest, whole := bytes.Cut(text[good:], []byte("\n"))
		body, ok := openLine(line)
		if !whole || !ok {
			if whole && len(bytes.TrimSpace(rest)) > 0 {
				return fmt.Errorf("read the journal, line %d: %w", number, ErrJournalCorrupt)
			}
			break
		}
		err = replay(body)
		if err != nil {
			return fmt.Errorf("replay the journal, line %d: %w", number, err)
		}
		good += len(line) + 1
	}
	err = j.file.Truncate(int64(good))
	if err == nil {
		_, err = j.file.Seek(int64(good), io.SeekStart)
	}
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("prepare the journal: %w", err)
	}
	return nil
}

// A line is eight hex digits of CRC-32, a space, the JSON text.
func sealLine(body []byte) []byte {
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(body), body)
}

func openLine(line []byte) ([]byte, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return nil, false
	}
	want, err := strconv.ParseUint(string(line[:8]), 16, 32)
	body := line[9:]
	if err != nil || uint32(want) != crc32.ChecksumIEEE(body) {
		return nil, false
	}
	return body, true
}

// Append puts v at the end of what will be written. Call it under the lock that
// guards the state it describes, so that order on file is order in memory.
func (j *Journal) Append(v any) error {
	if j == nil {
		return nil
	}
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return j.failed
	}
	j.pending = append(j.pending, sealLine(body)...)
	j.added++
	return nil
}

// Flush returns when everything appended before the call is on stable storage.
// After one failure all further calls fail: the process must be restarted from
// what the file holds.
func (j *Journal) Flush() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	want := j.added
	for j.durable < want && j.failed == nil {
		if j.busy {
			j.cond.Wait()
			continue
		}
		j.busy = true
		data, upTo := j.pending, j.added
		j.pending = nil
		j.mu.Unlock()
		_, err := j.file.Write(data)
		if err == nil {
			err = j.file.Sync()
		}
		j.mu.Lock()
		j.busy = false
		if err != nil {
			j.failed = fmt.Errorf("write the journal: %w", err)
		} else {
			j.durable = upTo
		}
		j.cond.Broadcast()
	}
	return j.failed
}

// Close flushes and closes.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	err := j.Flush()
	return errors.Join(err, j.file.Close())
}
