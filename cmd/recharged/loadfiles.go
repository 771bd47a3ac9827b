package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/schollz/progressbar/v3"
)

// lineBytesMax is the longest line that is read: what is too large for an event
// is still sent, so that the server says so.
const lineBytesMax = 1 << 20

// read sends the lines of the files to the lanes, in their order.
func (l *loader) read(ctx context.Context, s *session, files []string, bar *progressbar.ProgressBar) error {
	router := router{seed: maphash.MakeSeed(), lanes: l.lanes}
	for _, name := range files {
		err := eachLine(s.stdin, name, bar, func(number int, line []byte) error {
			router.lane(line).add(name, number, line)
			return context.Cause(ctx)
		})
		if err != nil {
			return err
		}
		for _, lane := range l.lanes {
			lane.flush()
		}
	}
	return nil
}

// eachLine hands over the lines of a file that are not blank. The line is the
// callee's until it returns.
func eachLine(stdin io.Reader, name string, bar *progressbar.ProgressBar, each func(number int, line []byte) error) error {
	source := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return usagef("%v", err)
		}
		defer f.Close()
		source = f
	}
	if bar != nil {
		source = io.TeeReader(source, bar)
	}
	source, closeSource, err := unpack(name, source)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer closeSource()
	lines := bufio.NewScanner(source)
	lines.Buffer(make([]byte, 0, 64<<10), lineBytesMax)
	number := 0
	for lines.Scan() {
		number++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		if err := each(number, line); err != nil {
			return err
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("%s:%d: this line is longer than %d bytes; is it one event a line?", name, number+1, lineBytesMax)
	} else if err != nil {
		return fmt.Errorf("%s: after line %d: %w", name, number, err)
	}
	return nil
}

// What packed files begin with. No line of JSON does.
const (
	gzipMagic = "\x1f\x8b"
	zstdMagic = "\x28\xb5\x2f\xfd"
)

// unpack returns what is in a file, by how it begins, else by the end of its
// name: then it is broken and says so.
func unpack(name string, source io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReader(source)
	magic, _ := buffered.Peek(len(zstdMagic)) // An error comes again with the next read.
	isGzip, isZstd := bytes.HasPrefix(magic, []byte(gzipMagic)), string(magic) == zstdMagic
	switch {
	case isGzip, !isZstd && strings.HasSuffix(name, ".gz"):
		z, err := gzip.NewReader(buffered)
		return z, func() {}, err
	case isZstd, strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(buffered)
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}

// router finds the lane of a line by its customer.
type router struct {
	seed    maphash.Seed
	lanes   []*lane
	reader  bytes.Reader
	decoder jsontext.Decoder
}

func (r *router) lane(line []byte) *lane {
	if len(r.lanes) == 1 {
		return r.lanes[0]
	}
	subject := strings.TrimPrefix(r.subject(line), "+")
	return r.lanes[maphash.String(r.seed, subject)%uint64(len(r.lanes))]
}

// subject returns the subject of an event, "" if there is none: then the server
// refuses the event, and its lane does not matter.
func (r *router) subject(line []byte) string {
	r.reader.Reset(line)
	r.decoder.Reset(&r.reader)
	if token, err := r.decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return ""
	}
	for r.decoder.PeekKind() == '"' {
		name, err := r.decoder.ReadToken()
		if err != nil {
			return ""
		}
		if name.String() != "subject" {
			if r.decoder.SkipValue() != nil {
				return ""
			}
			continue
		}
		value, err := r.decoder.ReadToken()
		if err != nil || value.Kind() != '"' {
			return ""
		}
		return value.String()
	}
	return ""
}
